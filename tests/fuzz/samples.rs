//! Writes the inputs that a fuzz target begins with, where code makes them: `samples http2_session
//! corpus/http2_session`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, folder] = &arguments[..] else { panic!("samples TARGET FOLDER") };
    let samples = match target.as_str() {
        "http2_session" => penstock_tests::http2_session::samples(),
        other => panic!("no samples for {other}: any bytes will do"),
    };
    std::fs::create_dir_all(folder)?;
    for (number, bytes) in samples.iter().enumerate() {
        std::fs::write(Path::new(folder).join(format!("{target}-{number}")), bytes)?;
    }
    println!("{} samples in {folder}", samples.len());
    Ok(())
}
