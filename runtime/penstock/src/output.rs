//! What a verb shows on standard output.

use std::fmt::Display;
use std::io::{self, Write};

use crate::Failed;

/// Shows text as it stands. Who reads may have heard enough (`penstock config show F | head`):
/// that is no failure, as any other way to lose what was to be shown is.
pub(crate) fn show(text: impl Display) -> Result<(), Failed> {
    to(&mut io::stdout().lock(), text)
}

/// Shows a line.
pub(crate) fn show_line(line: impl Display) -> Result<(), Failed> {
    show(format_args!("{line}\n"))
}

fn to(out: &mut impl Write, text: impl Display) -> Result<(), Failed> {
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failed::Because(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::to;
    use crate::Failed;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_no_failure_and_a_full_disk_is() {
        assert!(to(&mut Broken(io::ErrorKind::BrokenPipe), "text").is_ok());
        let full = to(&mut Broken(io::ErrorKind::StorageFull), "text");
        assert!(matches!(full, Err(Failed::Because(why)) if why.starts_with("standard output: ")));
    }
}
