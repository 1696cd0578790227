//! How others talk to the control thread: by closures that it runs between two events.

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::Control;

/// Questions that may wait; whoever asks the next one waits for room.
const QUESTIONS_MAX: usize = 256;

/// What is to be done on the control thread.
pub(crate) type Question = Box<dyn FnOnce(&mut Control) + Send>;

/// Asks the control thread. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    questions: mpsc::Sender<Question>,
}

/// The control thread has ended, or the question made it panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the control thread does not answer")]
pub struct Gone;

impl Handle {
    pub(crate) fn new() -> (Handle, mpsc::Receiver<Question>) {
        let (questions, inbox) = mpsc::channel(QUESTIONS_MAX);
        (Handle { questions }, inbox)
    }

    /// Runs `question` on the control thread and gives its answer.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Control) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (question, answer) = envelope(question);
        self.questions.send(question).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// The same for plain threads.
    ///
    /// # Errors
    /// [`Gone`].
    ///
    /// # Panics
    /// When called on the control thread itself.
    pub fn ask_blocking<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Control) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (question, answer) = envelope(question);
        self.questions.blocking_send(question).map_err(|_| Gone)?;
        answer.blocking_recv().map_err(|_| Gone)
    }
}

fn envelope<T: Send + 'static>(
    question: impl FnOnce(&mut Control) -> T + Send + 'static,
) -> (Question, oneshot::Receiver<T>) {
    let (sender, answer) = oneshot::channel();
    let question = Box::new(move |control: &mut Control| {
        // Whoever asked may have gone: then nobody needs the answer.
        let _ = sender.send(question(control));
    });
    (question, answer)
}
