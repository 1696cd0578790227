//! Log lines: `info!`, `warn!` and their like, into the proxy's log under the filter's name.

use core::fmt;

use crate::sys;

pub use penstock_filters_sdk_abi::LogLevel as Level;

/// Writes a line at `level`. The macros are the shorter way.
#[inline]
pub fn write(level: Level, text: fmt::Arguments<'_>) {
    // The two low levels are off in production: ask before the text is made. The others are rare
    // enough to be made and dropped by the host.
    if level <= Level::Debug && sys::log_level() > level as u32 {
        return;
    }
    match text.as_str() {
        Some(text) => sys::log(level, text),
        None => sys::log(level, &text.to_string()),
    }
}

/// Writes a line of the finest level.
#[macro_export]
macro_rules! trace {
    ($($text:tt)*) => { $crate::log::write($crate::log::Level::Trace, format_args!($($text)*)) };
}

/// Writes a line for whoever looks for a mistake.
#[macro_export]
macro_rules! debug {
    ($($text:tt)*) => { $crate::log::write($crate::log::Level::Debug, format_args!($($text)*)) };
}

/// Writes a line that an operator may want to know.
#[macro_export]
macro_rules! info {
    ($($text:tt)*) => { $crate::log::write($crate::log::Level::Info, format_args!($($text)*)) };
}

/// Writes a line that an operator should look at.
#[macro_export]
macro_rules! warn {
    ($($text:tt)*) => { $crate::log::write($crate::log::Level::Warn, format_args!($($text)*)) };
}

/// Writes a line about a failure.
#[macro_export]
macro_rules! error {
    ($($text:tt)*) => { $crate::log::write($crate::log::Level::Error, format_args!($($text)*)) };
}

/// Has a panic write its message and place before it becomes a trap.
pub(crate) fn install_panic_line() {
    std::panic::set_hook(Box::new(|panic| {
        sys::log(Level::Critical, &panic.to_string());
    }));
}
