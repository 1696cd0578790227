//! What the documents show can be run: their configs are read here.

use crate::tests::parse;

#[test]
fn the_configs_of_the_front_page_are_right() {
    let page = include_str!("../../../README.md");
    let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let configs: Vec<&str> = blocks.filter(|block| block.contains("[listener.")).collect();
    assert!(!configs.is_empty(), "the front page shows a config");
    for text in configs {
        if let Err(findings) = parse(text) {
            panic!("{findings}");
        }
    }
}

#[test]
fn a_large_config_is_read_in_time_that_grows_with_it() {
    let mut text = String::from("[listener.l]\naddress = \":80\"\n");
    for index in 0..2_000 {
        let to = index % 500;
        text += &format!("[[listener.l.route]]\npath = \"/{index}/*\"\nto = \"c{to}\"\n");
    }
    for index in 0..500 {
        let host = format!("10.0.{}.{}", index / 250, index % 250 + 1);
        text += &format!("[cluster.c{index}]\nendpoints = [\"{host}:80\"]\n");
    }
    let config = parse(&text).expect("nothing is wrong with many routes");
    assert_eq!(config.listeners[0].routes.len(), 2_000);
    let wrong = text.replace("to = \"c", "to = \"d");
    let findings = parse(&wrong).expect_err("no cluster starts with d");
    assert_eq!(findings.list.len() + findings.left_out, 2_000);
}
