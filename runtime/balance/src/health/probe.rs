//! What checks of an endpoint come to: so many failures in a row and it is down, so many successes
//! and it is up again.

/// The checks of one endpoint so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    up: bool,
    /// Checks in a row that said otherwise.
    against: u32,
}

impl Probe {
    /// Of an endpoint that was known to be so.
    pub fn new(up: bool) -> Probe {
        Probe { up, against: 0 }
    }

    /// Whether it is up.
    pub fn is_up(self) -> bool {
        self.up
    }

    /// Takes the outcome of a check; whether that changed the verdict. It falls after `fall`
    /// failures and rises after `rise` successes.
    pub fn observe(&mut self, good: bool, fall: u32, rise: u32) -> bool {
        if good == self.up {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let changes = self.against >= if self.up { fall } else { rise };
        if changes {
            *self = Probe::new(good);
        }
        changes
    }
}
