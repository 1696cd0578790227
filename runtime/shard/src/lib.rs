//! One core's executor: glommio, our io_uring, listeners, mailboxes.
