//! Starting, adopting, replacing, refusing, detaching.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use aya::programs::loaded_programs;
use penstock_l4::testing::world;
use penstock_l4::{Kept, Subject};
use penstock_xdp::{
    Capability, Choice, Datapath, Fill, Interface, Kernel, Options, Start, XdpError, detach,
};

use crate::harness::peers::PATIENCE;
use crate::harness::{BpfFolder, Net, can_wire, fill, kernel_is_there, options};

/// A namespace with a veth pair, `eth0` to be attached to.
fn wired() -> Net {
    let net = Net::new(&["lb", "far"]);
    net.pair(("lb", "eth0", "10.2.0.2/24"), ("far", "lb0", "10.2.0.1/24"));
    net
}

/// Starts on `names` in the namespace `lb`, and lets go of it.
fn start(net: &Net, options: &Options, names: &[&str]) -> Result<Start, XdpError> {
    let (options, names) = (options.clone(), names.join(" "));
    net.inside("lb", move || {
        let interfaces: Result<Vec<_>, _> = names.split(' ').map(Interface::named).collect();
        Kernel::start(&options, &interfaces?).map(|kernel| kernel.found())
    })
}

/// What `ip link` says of the program on an interface of `lb`.
fn attached(net: &Net, name: &str) -> Option<String> {
    let name = name.to_owned();
    net.inside("lb", move || {
        let output = Command::new("ip").args(["-details", "link", "show", &name]).output();
        let text = String::from_utf8_lossy(&output.expect("ip is there").stdout).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        // `prog/xdp id 7 ...`; generic XDP would be `xdpgeneric`.
        assert!(!text.contains("xdpgeneric"), "{text}");
        let at = words.iter().position(|word| *word == "prog/xdp")?;
        Some(words.get(at + 2)?.to_string())
    })
}

#[test]
fn a_process_leaves_the_program_and_the_next_adopts_its_maps() {
    if !can_wire() {
        return;
    }
    let (net, folder) = (wired(), BpfFolder::new());
    let options = folder.options();
    let first = options.clone();
    let found = net.inside("lb", move || {
        let eth0 = Interface::named("eth0")?;
        let mut kernel = Kernel::start(&first, &[eth0])?;
        fill(&world(), kernel.tables())?;
        Ok::<_, XdpError>(kernel.found())
    });
    assert_eq!(found.unwrap_or_else(|error| panic!("{error}")), Start::Fresh);
    let before = attached(&net, "eth0").expect("the program outlives the process");
    let found = start(&net, &options, &["eth0"]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found, Start::Adopted);
    let after = attached(&net, "eth0").expect("the new process has it");
    assert_ne!(before, after, "the program is always replaced");
}

#[test]
fn tables_are_full_before_the_first_packet_and_the_next_process_reads_them() {
    if !can_wire() {
        return;
    }
    let (net, folder) = (wired(), BpfFolder::new());
    let options = folder.options();
    for found in [Start::Fresh, Start::Adopted] {
        let options = options.clone();
        let kept = net.inside("lb", move || {
            let eth0 = [Interface::named("eth0")?];
            let mut kept = Kept::default();
            let datapath = Datapath::start(Choice::Auto, &options, &eth0, &mut |datapath| {
                kept = datapath.kept()?;
                fill(&world(), datapath.fill())
            })?;
            assert_eq!((datapath.found(), datapath.name()), (found, "xdp"));
            Ok::<_, XdpError>(kept)
        });
        let mut kept = kept.unwrap_or_else(|error| panic!("{error}"));
        if found == Start::Fresh {
            assert!(kept.services.is_empty() && kept.vips.is_empty() && kept.backends.is_empty());
            continue;
        }
        let mut world = world();
        kept.services.sort();
        world.services.sort();
        assert_eq!(kept.services, world.services);
        assert_eq!((kept.vips, kept.backends), (world.vips, world.backends));
        assert_eq!(kept.sources.len(), world.sources.len());
        let is_there = |(address, bits, _): &(_, _, _)| kept.sources.contains(&(*address, *bits));
        assert!(world.sources.iter().all(is_there), "{:?}", kept.sources);
    }
    let addresses = net.inside("lb", || {
        let eth0 = Interface::named("eth0")?;
        Ok::<_, XdpError>((eth0.addresses()?, eth0.mtu()?))
    });
    let (addresses, mtu) = addresses.unwrap_or_else(|error| panic!("{error}"));
    let v4 = addresses.iter().filter(|address| address.is_ipv4());
    assert_eq!(v4.map(|address| address.to_string()).collect::<Vec<_>>(), ["10.2.0.2"]);
    assert_eq!(mtu, 1_500);
}

#[test]
fn maps_of_other_sizes_are_replaced_without_a_gap() {
    if !can_wire() {
        return;
    }
    let (net, folder) = (wired(), BpfFolder::new());
    let mut options = folder.options();
    let found = start(&net, &options, &["eth0"]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found, Start::Fresh);
    options.sizes.backends_max += 1;
    let found = start(&net, &options, &["eth0"]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found, Start::Replaced);
    let found = start(&net, &options, &["eth0"]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found, Start::Adopted);
    assert!(attached(&net, "eth0").is_some());
}

#[test]
fn an_interface_that_is_no_longer_named_loses_the_program() {
    if !can_wire() {
        return;
    }
    let (net, folder) = (wired(), BpfFolder::new());
    net.pair(("lb", "eth0.5", "10.3.0.2/24"), ("far", "lb1", "10.3.0.1/24"));
    let options = folder.options();
    start(&net, &options, &["eth0", "eth0.5"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(attached(&net, "eth0").is_some() && attached(&net, "eth0.5").is_some());
    start(&net, &options, &["eth0.5"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(attached(&net, "eth0").is_none() && attached(&net, "eth0.5").is_some());
}

#[test]
fn detach_leaves_no_program_and_no_pin() {
    if !can_wire() {
        return;
    }
    let (net, folder) = (wired(), BpfFolder::new());
    let options = folder.options();
    start(&net, &options, &["eth0"]).unwrap_or_else(|error| panic!("{error}"));
    let program = attached(&net, "eth0").expect("the program outlives the process");
    detach(&options.root, &options.instance).unwrap_or_else(|error| panic!("{error}"));
    assert!(attached(&net, "eth0").is_none());
    assert_eq!(entries(&options.root), 0);
    // The kernel forgets it, and with it its maps, when no processor runs it any more.
    let began = Instant::now();
    while loaded_programs().flatten().any(|one| one.id().to_string() == program) {
        assert!(began.elapsed() < PATIENCE, "program {program} is still there");
        std::thread::yield_now();
    }
    // Once more, where nothing is.
    detach(&options.root, &options.instance).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    if !can_wire() {
        return;
    }
    let (net, folder) = (wired(), BpfFolder::new());
    let options = folder.options();
    let error = start(&net, &options, &["eth7"]).expect_err("there is no eth7");
    assert_eq!(error.to_string(), "there is no interface eth7");
    // The loopback has no native XDP. What was attached before it is taken away again.
    let error = start(&net, &options, &["eth0", "lo"]).expect_err("not on the loopback");
    assert!(matches!(&error, XdpError::NoNativeXdp(name) if name == "lo"), "{error}");
    assert!(attached(&net, "eth0").is_none());
    assert_eq!(entries(&options.root), 0);
    let filled = options.clone();
    let error = net.inside("lb", move || {
        let eth0 = [Interface::named("eth0")?];
        Datapath::start(Choice::Auto, &filled, &eth0, &mut |datapath| {
            fill(&world(), datapath.fill())?;
            datapath.fill().set_backend(u32::MAX, None)
        })
        .map(drop)
    });
    assert!(matches!(error, Err(XdpError::OutOfBounds { .. })), "{error:?}");
    assert_eq!(entries(&options.root), 0);
    let (mut other, plain) = (options.clone(), std::env::temp_dir());
    start(&net, &options, &["eth0"]).unwrap_or_else(|error| panic!("{error}"));
    other.instance = "other".into();
    let error = start(&net, &other, &["eth0"]).expect_err("the first one is there");
    assert!(matches!(&error, XdpError::Occupied(name) if name == "eth0"), "{error}");
    other.root = plain.join(format!("penstock-no-bpf-{}", std::process::id()));
    let error = start(&net, &other, &["eth0"]).expect_err("no BPF file system");
    assert!(matches!(error, XdpError::NoBpfFilesystem(_)), "{error}");
    std::fs::remove_dir(&other.root).expect("only the folder was made");
}

#[test]
fn three_capabilities_are_enough_and_without_one_its_name_is_said() {
    if let (Some(expected), Some(root)) = (std::env::var_os(CHILD), std::env::var_os(ROOT)) {
        // This is the process with fewer capabilities, in the namespace.
        return start_with_less(&expected.to_string_lossy(), options(root.into()));
    }
    if !can_wire() {
        return;
    }
    let (net, folder) = (wired(), BpfFolder::new());
    with_capabilities(&net, &folder, "+net_admin,+sys_admin", "");
    detach(&folder.options().root, "test").unwrap_or_else(|error| panic!("{error}"));
    with_capabilities(&net, &folder, "+bpf,+perfmon,+net_admin", "");
    detach(&folder.options().root, "test").unwrap_or_else(|error| panic!("{error}"));
    for (rest, missing) in [
        ("+perfmon,+net_admin", Capability::Bpf),
        ("+bpf,+net_admin", Capability::Perfmon),
        ("+bpf,+perfmon", Capability::NetAdmin),
    ] {
        with_capabilities(&net, &folder, rest, &missing.to_string());
    }
}

/// Starts, and meets the error that begins like this; none if that is empty.
fn start_with_less(expected: &str, options: Options) {
    let interface = Interface::named("eth0").unwrap_or_else(|error| panic!("{error}"));
    let result = Kernel::start(&options, &[interface]).map(|kernel| kernel.found());
    if expected.is_empty() {
        assert_eq!(result.unwrap_or_else(|error| panic!("{error}")), Start::Fresh);
        return;
    }
    let error = result.expect_err("a capability is missing");
    assert!(matches!(error, XdpError::Capability(_)), "{error}");
    assert!(error.to_string().starts_with(expected), "{error}");
}

/// Runs the test above once more in `lb`, with these capabilities and no others.
#[track_caller]
fn with_capabilities(net: &Net, folder: &BpfFolder, capabilities: &str, expected: &str) {
    let (set, expected) = (format!("-all,{capabilities}"), expected.to_owned());
    let root = folder.options().root;
    let output = net.inside("lb", move || {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", &set, "--inh-caps", &set]);
        command.arg(std::env::current_exe().expect("this is a program"));
        command.args([
            "--exact",
            "lifecycle::three_capabilities_are_enough_and_without_one_its_name_is_said",
        ]);
        command.env(CHILD, expected).env(ROOT, root).output().expect("setpriv is there")
    });
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{capabilities}: {text}");
    assert!(text.contains("1 passed"), "{capabilities}: {text}");
}

#[test]
fn what_the_maps_have_no_room_for_is_refused_by_number() {
    if !kernel_is_there() {
        return;
    }
    let folder = BpfFolder::new();
    let mut kernel =
        Kernel::start(&folder.options(), &[]).unwrap_or_else(|error| panic!("{error}"));
    let world = world();
    let (vip, backend) = (world.vips[0].1, world.backends[0].1);
    let tables = kernel.tables();
    let too_many = tables.set_vip(65, &vip).expect_err("64 is the last");
    assert_eq!(too_many.to_string(), "VIP 65: the maps hold 64");
    assert!(tables.set_vip(0, &vip).is_err(), "0 stands for none");
    assert!(tables.set_vip(64, &vip).is_ok());
    assert!(tables.set_backend(64, Some(&backend)).is_err());
    assert!(tables.set_backend(63, Some(&backend)).is_ok());
    assert!(tables.set_maglev(4, &world.maglevs[0]).is_err());
    assert!(tables.set_maglev(0, &world.maglevs[0][1..]).is_err());
    let (key, _) = world.services[0];
    assert!(tables.set_service(&key, None).is_ok(), "what is not there is gone already");
    assert!(tables.counters(Subject::Vip(65)).is_ok_and(|counts| counts.is_none()));
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Says to the process what error it is to meet; nothing for none.
const CHILD: &str = "PENSTOCK_TEST_CAPABILITY";
const ROOT: &str = "PENSTOCK_TEST_ROOT";
