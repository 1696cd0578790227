//! What a connection costs: a parked one none, a busy one its task, and that has a measure.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::Env;
use penstock_tests::sim::{Faults, Limits, check_few_seeds};

use crate::http::plan::Pace;
use crate::http::wire::Wire;
use crate::proxy::{Proxy, config};

/// What the task of an HTTP/1 connection with an exchange in it may take: a page. 3,624 bytes were
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
