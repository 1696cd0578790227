//! Queues as an author sees them.

use crate::testing::Instance;
use crate::{ConfigError, Filter, Flow, NoConfig, Plugin, Queue, QueueId, Request, info};

/// Writes the paths of requests down beside them.
struct Notes {
    paths: Queue<String>,
}

#[penstock::filter]
impl Filter for Notes {
    fn new(_: NoConfig) -> Result<Self, ConfigError> {
        let paths = Queue::register("paths");
        Ok(Self { paths: paths.map_err(|_| ConfigError::at("", "no queue"))? })
    }

    fn on_request(&self, request: &mut Request<'_>) -> Flow {
        let _ = self.paths.push(&request.path().unwrap_or_default().to_owned());
        Flow::Continue
    }

    fn on_queue(&self, _: &mut Plugin<'_>, queue: QueueId) {
        assert_eq!(queue, self.paths.id());
        if let Some(path) = self.paths.pop() {
            info!("{path}");
        }
    }
}

#[test]
fn values_come_to_the_one_that_registered_last() {
    let (first, last) = (Instance::<Notes>::new("").unwrap(), Instance::<Notes>::new("").unwrap());
    drop(first.request(&[(":method", "GET"), (":path", "/a")]));
    drop(last.request(&[(":method", "GET"), (":path", "/b")]));
    assert_eq!(last.queued("paths"), [b"/a", b"/b"]);
    first.run_queues();
    assert_eq!(last.queued("paths").len(), 2, "the other hears of them");
    last.run_queues();
    assert_eq!(last.lines(), ["info: /a", "info: /b"]);
    assert!(last.queued("paths").is_empty() && last.queued("other").is_empty());
}

#[test]
fn a_queue_is_found_by_name_and_passes_over_what_it_cannot_read() {
    let _filter = Instance::<Notes>::new("").unwrap();
    assert!(Queue::<u64>::find("numbers").is_none());
    let numbers = Queue::<u64>::register("numbers").unwrap();
    assert_eq!(Queue::<u64>::find("numbers").map(|queue| queue.id()), Some(numbers.id()));
    assert!(Queue::<u64>::find_of("others", "numbers").is_none());
    let texts = Queue::<String>::find("numbers").unwrap();
    texts.push(&"no number".to_owned()).unwrap();
    numbers.push(&7).unwrap();
    assert_eq!((numbers.pop(), numbers.pop()), (Some(7), None));
}
