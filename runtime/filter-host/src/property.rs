//! What must hold for any arguments of any hostcall, as a function: for the fuzz target
//! `filter_hostcalls` and for this crate's own tests.
//!
//! The guest is a module that does nothing but forward: for each row of the ABI's table it has a
//! function of the same signature that calls the host and returns what that said.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use wasmtime::Val;

use crate::abi::hostcalls::HOSTCALLS;
use crate::abi::{Module, Status, Value, Version, callbacks};
use crate::contexts::ContextId;
use crate::grpc::GrpcEvent;
use crate::instance::{Instance, Way};
use crate::session::{Body, Callout, CalloutResponse};
use crate::state::Lent;
use crate::testing::{FakeSession, FakeWorld, Fields};
use crate::{
    Engine, EngineSettings, Filter, FilterHost, FilterSettings, PairList, TrapCause, Trapped, World,
};

/// Takes `input` as a series of hostcalls with arguments, and makes them. Panics when a call
/// panics, answers a number that the ABI has not, or traps where none may.
pub fn filter_hostcalls(input: &[u8]) {
    thread_local! {
        static PROBE: RefCell<Probe> = RefCell::new(Probe::new(FilterSettings::new("probe")));
    }
    PROBE.with_borrow_mut(|probe| {
        let mut input = Input(input);
        while let Some(index) = input.byte() {
            let call = &HOSTCALLS[index as usize % HOSTCALLS.len()];
            let arguments: Vec<u64> = call.params.iter().map(|_| input.argument()).collect();
            match probe.call(call.name, &arguments) {
                Ok(Some(answer)) if call.module == Module::Env => {
                    let known = Status::from_u32(answer).is_some() || call.name == "pthread_equal";
                    assert!(known, "{} answered {answer}", call.name);
                }
                Ok(_) => {}
                Err(trapped) => {
                    assert_eq!(trapped.cause, TrapCause::Exit, "{}: {trapped}", call.name);
                    probe.restart();
                }
            }
        }
    });
}

/// Bytes that become arguments: mostly numbers on which something hangs.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn argument(&mut self) -> u64 {
        let selector = self.byte().unwrap_or(0);
        match selector {
            0..16 => u64::from(selector),
            16..128 => u64::from(selector - 16) * 1_200,
            128..160 => Probe::MEMORY_BYTES - 16 + u64::from(selector - 128),
            160..176 => u64::from(u32::MAX) - u64::from(selector - 160),
            176..192 => (1 << 31) - 8 + u64::from(selector - 176),
            _ => {
                let mut word = [0; 8];
                word.fill_with(|| self.byte().unwrap_or(0));
                u64::from_le_bytes(word)
            }
        }
    }
}

/// A guest that forwards, and an exchange around it.
pub(crate) struct Probe {
    filter: Arc<Filter>,
    pub(crate) world: Rc<FakeWorld>,
    instance: Instance,
    pub(crate) stream: ContextId,
    pub(crate) session: FakeSession,
    pub(crate) body: Vec<u8>,
    answer: CalloutResponse,
    pub(crate) configuring: bool,
    /// What came on a gRPC call.
    pub(crate) event: Option<GrpcEvent>,
    /// The call that was made last.
    pub(crate) last_callout: Option<Callout>,
}

impl Probe {
    /// Two pages.
    pub(crate) const MEMORY_BYTES: u64 = 2 * 65_536;

    pub(crate) fn new(settings: FilterSettings) -> Probe {
        Probe::of(settings, Version::V0_2_1)
    }

    pub(crate) fn of(settings: FilterSettings, version: Version) -> Probe {
        let engine = EngineSettings { deadlines: false, fuel_max: None };
        let engine = Engine::new(engine).expect("this machine runs WebAssembly");
        let host = FilterHost::new(engine, None, 1, 7);
        let world = Rc::new(FakeWorld::new(7));
        let seen: Rc<dyn World> = world.clone();
        let filter = host.load(&forwarder(version), settings, &seen).expect("it loads");
        let (instance, stream) = start(&filter, &world);
        let mut session = FakeSession::new(&[(":method", "GET"), (":path", "/"), ("a", "1")]);
        session.response = Some(Fields::new(&[(":status", "200")]));
        session.properties.insert("request.id".into(), b"42".to_vec());
        let answer = CalloutResponse {
            headers: PairList::new([(b":status" as &[u8], b"204" as &[u8])].into_iter()),
            body: b"answer".to_vec(),
            trailers: PairList::default(),
        };
        let body = b"0123456789".to_vec();
        Probe {
            filter,
            world,
            instance,
            stream,
            session,
            body,
            answer,
            configuring: false,
            event: None,
            last_callout: None,
        }
    }

    /// A fresh instance, after a trap.
    pub(crate) fn restart(&mut self) {
        (self.instance, self.stream) = start(&self.filter, &self.world);
    }

    /// Makes one hostcall from the guest; the answer is `None` for calls that have none.
    pub(crate) fn call(&mut self, name: &str, arguments: &[u64]) -> Result<Option<u32>, Trapped> {
        let call = HOSTCALLS.iter().find(|call| call.name == name).expect("it is in the table");
        let value = |(&argument, kind): (&u64, &Value)| match kind {
            Value::I32 => Val::I32(argument as i32),
            Value::I64 => Val::I64(argument as i64),
        };
        let arguments: Vec<Val> = arguments.iter().zip(call.params).map(value).collect();
        assert_eq!(arguments.len(), call.params.len(), "{name}");
        let lent = Lent {
            session: Some(&mut self.session),
            request_body: Some(&mut self.body as &mut dyn Body),
            callout: Some(&self.answer),
            grpc: self.event.as_ref(),
            stream: self.stream,
            configuring: self.configuring,
            ..Lent::default()
        };
        let name = format!("probe {name}");
        let results = self.instance.call_export(&name, &arguments, call.results.len(), lent)?;
        // Everything that calls leave behind is taken away, or the fuzzer would fill memory.
        let stream = self.stream;
        if let Some(mail) = self.instance.context(stream).and_then(|stream| stream.mail.as_mut()) {
            self.last_callout = mail.callouts.drain(..).next_back().or(self.last_callout.take());
        }
        if self.body.len() > 1 << 16 {
            self.body.truncate(10);
        }
        Ok(results.first().and_then(Val::i32).map(|answer| answer as u32))
    }
}

/// What this crate's own tests look at.
#[cfg(test)]
impl Probe {
    /// Puts bytes into the guest's memory.
    pub(crate) fn write(&mut self, address: usize, bytes: &[u8]) {
        self.instance.memory_mut()[address..address + bytes.len()].copy_from_slice(bytes);
    }

    /// Bytes of the guest's memory.
    pub(crate) fn read(&mut self, address: usize, bytes: usize) -> Vec<u8> {
        self.instance.memory_mut()[address..address + bytes].to_vec()
    }

    /// A number in the guest's memory.
    pub(crate) fn word(&mut self, address: usize) -> u32 {
        let bytes = self.read(address, 4).try_into().expect("four bytes");
        u32::from_le_bytes(bytes)
    }

    /// What the host keeps of the exchange's context.
    pub(crate) fn context(&mut self) -> &mut crate::contexts::Context {
        self.instance.context(self.stream).expect("it is open")
    }

    /// Brings what came on a gRPC call.
    pub(crate) fn hear(&mut self, token: u32, event: GrpcEvent) {
        self.instance.on_grpc(token, &event, Lent::default()).expect("there is no callback");
    }

    /// Ends the exchange.
    pub(crate) fn close(&mut self) {
        self.instance.close(self.stream, Lent::default()).expect("there is no callback");
    }

    /// How often a limit bit.
    pub(crate) fn limits_hit(&self) -> u64 {
        self.filter.stats().shards[0].limits.value()
    }

    /// A second exchange in the same instance.
    pub(crate) fn open(&mut self) -> ContextId {
        self.instance.open(0, false, Lent::default()).expect("there is room")
    }
}

fn start(filter: &Filter, world: &Rc<FakeWorld>) -> (Instance, ContextId) {
    let world: Rc<dyn World> = Rc::clone(world) as _;
    let mut instance = Instance::start(filter, 0, &world).expect("it started before");
    let stream = instance.open(0, false, Lent::default()).expect("the table is empty");
    let action = instance.on_headers(Way::Request, stream, Lent::default(), 0, true);
    assert!(action.is_ok(), "there is no such callback");
    (instance, stream)
}

/// The forwarding guest, byte by byte (WebAssembly 1.0 §5: Binary Format).
fn forwarder(version: Version) -> Vec<u8> {
    let count = HOSTCALLS.len() as u32;
    let mut types = vec![function_type(&[Value::I32], &[Value::I32]), function_type(&[], &[])];
    types.extend(HOSTCALLS.iter().map(|call| function_type(call.params, call.results)));
    let imports = HOSTCALLS.iter().zip(2_u32..).map(|(call, kind)| {
        [name(call.module.names()[0]), name(call.name), vec![0], number(kind)].concat()
    });
    let mut functions = vec![number(0), number(1)];
    functions.extend((0..count).map(|index| number(index + 2)));
    let mut exports = vec![
        [name(callbacks::MEMORY), vec![2, 0]].concat(),
        [name(callbacks::ALLOCATE), vec![0], number(count)].concat(),
        [name(version.marker()), vec![0], number(count + 1)].concat(),
    ];
    exports.extend(HOSTCALLS.iter().zip(count + 2..).map(|(call, index)| {
        [name(&format!("probe {}", call.name)), vec![0], number(index)].concat()
    }));
    // The allocator answers 65,536 whatever is asked: `i32.const`, `end`.
    let mut code = vec![body(&[vec![0x41], signed(65_536)].concat()), body(&[])];
    code.extend(HOSTCALLS.iter().zip(0_u32..).map(|(call, index)| {
        let arguments =
            (0..call.params.len() as u32).flat_map(|local| [vec![0x20], number(local)].concat());
        body(&arguments.chain([0x10]).chain(number(index)).collect::<Vec<_>>())
    }));
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &types),
        section(2, &imports.collect::<Vec<_>>()),
        section(3, &functions),
        section(5, &[vec![0, 2]]),
        section(7, &exports),
        section(10, &code),
    ]
    .concat()
}

fn function_type(params: &[Value], results: &[Value]) -> Vec<u8> {
    let kinds = |values: &[Value]| {
        let bytes = values.iter().map(|value| match value {
            Value::I32 => 0x7f,
            Value::I64 => 0x7e,
        });
        number(values.len() as u32).into_iter().chain(bytes).collect::<Vec<u8>>()
    };
    [vec![0x60], kinds(params), kinds(results)].concat()
}

fn section(id: u8, items: &[Vec<u8>]) -> Vec<u8> {
    let content = [number(items.len() as u32), items.concat()].concat();
    [vec![id], number(content.len() as u32), content].concat()
}

/// A function without locals of its own.
fn body(instructions: &[u8]) -> Vec<u8> {
    let content = [&[0], instructions, &[0x0b]].concat();
    [number(content.len() as u32), content].concat()
}

fn name(text: &str) -> Vec<u8> {
    [number(text.len() as u32), text.as_bytes().to_vec()].concat()
}

/// LEB128, unsigned.
fn number(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// LEB128, signed, of a number that is not negative.
fn signed(value: u32) -> Vec<u8> {
    let mut bytes = number(value);
    if bytes.last().is_some_and(|last| last & 0x40 != 0) {
        *bytes.last_mut().expect("it has one") |= 0x80;
        bytes.push(0);
    }
    bytes
}
