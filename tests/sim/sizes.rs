//! What a connection costs: a parked one none, a busy one its task, and that has a measure.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::{Env, StreamExt};
use penstock_tests::sim::{Faults, Limits, check_few_seeds};

use crate::http::plan::Pace;
use crate::http::wire::Wire;
use crate::proxy::{Proxy, config};

/// What the task of an HTTP/1 connection with an exchange in it may take: a page. 3,784 bytes were
/// measured in this world.
const TASK_BYTES_MAX: usize = 4_096;

#[test]
fn the_task_of_a_busy_connection_stays_small() {
    check_few_seeds("task size", Faults::CALM, |world| {
        let client = world.node("client", Limits::AMPLE);
        let nowhere = client.address(9);
        let proxy = Proxy::serve(world, &config(&[nowhere], "", ""));
        let (env, front, answered) =
            (client.clone(), proxy.front.clone(), Rc::new(Cell::new(false)));
        let tell = answered.clone();
        client.spawn(async move {
            let stream = Wire::connect(&env, &front).await.expect("the proxy listens");
            let wire = Wire::new(env, stream);
            let request = b"GET / HTTP/1.1\r\nHost: sim.test\r\nConnection: close\r\n\r\n";
            wire.write(request, &Pace::QUICK).await.expect("it reads");
            wire.head().await.expect("an answer").expect("a head");
            tell.set(true);
        });
        assert!(world.run_until(Duration::from_secs(60), || answered.get()));
        let bytes = proxy.task_bytes_max();
        assert!(bytes <= TASK_BYTES_MAX, "{bytes} bytes");
        proxy.end(world);
    });
}

/// What a relayed connection's task may take, which it has as long as the connection lasts, idle
/// or not. 696 bytes were measured in this world.
const RELAY_BYTES_MAX: usize = 704;

#[test]
fn the_task_of_a_relayed_connection_stays_smaller() {
    check_few_seeds("relay size", Faults::CALM, |world| {
        let nowhere = world.node("nobody", Limits::AMPLE).address(9);
        let text = format!(
            "[service.s]\nvip = \"10.9.9.9\"\nports = \"tcp/80\"\nto = \"c\"\n\
             [cluster.c]\nendpoints = [\"{nowhere}\"]\n"
        );
        let proxy = Proxy::serve(world, &text);
        let client = world.node("client", Limits::AMPLE);
        // The housekeeping of a worker is a task, too, and larger.
        let before = proxy.task_bytes_max();
        let (env, front, refused) =
            (client.clone(), proxy.front.clone(), Rc::new(Cell::new(false)));
        let tell = refused.clone();
        client.spawn(async move {
            let stream = env.connect(&front).await.expect("the proxy listens");
            tell.set(stream.recv().await.is_err());
        });
        assert!(world.run_until(Duration::from_secs(60), || refused.get()));
        let bytes = proxy.task_bytes_max();
        assert!(before < bytes && bytes <= RELAY_BYTES_MAX, "{before}, {bytes} bytes");
        proxy.end(world);
    });
}
