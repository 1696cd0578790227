//! What a filter asked for beside what its callback returned: an answer, a cut, to go on, a call.

use crate::contexts::{self, ContextId};
use crate::instance::{Instance, Way};
use crate::session::LocalResponse;

/// What a callback asked for beside what it returned.
#[derive(Default)]
pub(super) struct Wish {
    pub(super) respond: Option<Box<LocalResponse>>,
    pub(super) close: bool,
    pub(super) resumed: bool,
    pub(super) callouts: bool,
}

impl Wish {
    pub(super) fn of(instance: &mut Instance, id: ContextId, way: Way) -> Wish {
        let Some(context) = instance.context(id) else {
            return Wish::default();
        };
        let mut wish = Wish {
            close: std::mem::take(&mut context.close),
            resumed: std::mem::take(resume_flag(context, way)),
            ..Wish::default()
        };
        if let Some(mail) = &mut context.mail {
            wish.respond = mail.local_response.take();
            wish.callouts = !mail.callouts.is_empty();
        }
        wish
    }
}

/// Going on with a half that doesn't wait means nothing, and must not cancel a later pause.
pub(super) fn forget_idle(instance: &mut Instance, id: ContextId, request: bool, response: bool) {
    if let Some(context) = instance.context(id) {
        context.resume_request &= request;
        context.resume_response &= response;
    }
}

pub(super) fn resume_flag(context: &mut contexts::Context, way: Way) -> &mut bool {
    match way {
        Way::Request => &mut context.resume_request,
        Way::Response => &mut context.resume_response,
    }
}
