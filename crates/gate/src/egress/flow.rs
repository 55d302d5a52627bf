//! One allowed request, tunnel or WebSocket while bytes of it move: they are counted, what is sent is weighed against
//! the budgets, and at the end the audit log hears how it went.
//!
//! Invariant: bytes go upstream only after they were spent. Who holds a [`Flow`] moves bytes; with the last of them it
//! has ended.

use super::{
    Egress,
    body::{BodyError, RequestBody, ResponseBody},
    denial::Facts,
    lasting::Lasting,
};
use bottle_policy::{
    Rules,
    budget::{Amount, Over},
};
use bottle_spec::{
    event::{AuditEvent, EgressEnded},
    host::HostName,
    verdict::Reason,
};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Instant,
};

#[derive(Debug)]
pub(crate) struct Flow {
    egress: Arc<Egress>,
    rules: Arc<Rules>,
    facts: Facts,
    /// `seq` of the record that allowed it.
    of: u64,
    began: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    /// 0 = none came.
    status: AtomicU16,
    over: OnceLock<Over>,
    /// Why the screen stopped its body.
    refused: OnceLock<Reason>,
    /// Somebody else writes down that it was refused.
    told: AtomicBool,
}

impl Flow {
    pub(crate) fn new(egress: &Arc<Egress>, rules: &Arc<Rules>, facts: &Facts, of: u64) -> Arc<Flow> {
        egress.metrics.began();
        Arc::new(Flow {
            egress: Arc::clone(egress),
            rules: Arc::clone(rules),
            facts: facts.clone(),
            of,
            began: Instant::now(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            status: AtomicU16::new(0),
            over: OnceLock::new(),
            refused: OnceLock::new(),
            told: AtomicBool::new(false),
        })
    }

    /// Spends bytes that are about to be sent.
    pub(crate) fn send(&self, bytes: usize) -> Result<(), Reason> {
        let bytes = bytes as u64;
        if let Some(origin) = &self.facts.origin {
            let amount = Amount { bytes, requests: 0 };
            if let Err(over) = self.egress.spend(&self.rules, &origin.host, amount) {
                let _ = self.over.set(over);
                return Err(Reason::BudgetExceeded);
            }
        }
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// For which budget its body was stopped. Who asks writes it down, as whatever else stopped it.
    pub(crate) fn over(&self) -> Option<Over> {
        let over = self.over.get().copied();
        self.told.fetch_or(over.is_some() || self.refused.get().is_some(), Ordering::Relaxed);
        over
    }

    /// Notes why its body goes no further; of a finding the log has heard.
    fn refuse(&self, error: &BodyError) {
        if let BodyError::Refused(reason) = error
            && *reason != Reason::Finding
        {
            let _ = self.refused.set(*reason);
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        // The answer had begun when the budget was spent, or the body refused: the log alone hears of it.
        if !*self.told.get_mut() {
            if let Some(over) = self.over.get() {
                let facts = Facts { over: Some(*over), ..self.facts.clone() };
                self.egress.deny(&facts, Reason::BudgetExceeded);
            } else if let Some(reason) = self.refused.get() {
                self.egress.deny(&self.facts, *reason);
            }
        }
        let took = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let status = Some(*self.status.get_mut()).filter(|status| *status > 0);
        let (sent, received) = (*self.sent.get_mut(), *self.received.get_mut());
        self.egress.metrics.ended(&self.facts, sent, received);
        self.egress.audit.later(AuditEvent::EgressEnded(EgressEnded { of: self.of, status, sent, received, took }));
    }
}

impl Egress {
    /// Spends what a request costs before its body, where all of it fits: `body` is what is known of its length.
    pub(crate) fn afford(
        &self,
        rules: &Rules,
        route: usize,
        facts: &mut Facts,
        head: u64,
        body: u64,
    ) -> Result<(), Reason> {
        let (Some(origin), Some(route)) = (&facts.origin, rules.route(route)) else { return Err(Reason::PolicyError) };
        let target = facts.target.as_ref().map_or("/", |target| target.as_str());
        let budgets = &rules.policy().budgets;
        let now = self.opened.elapsed();
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = Amount { bytes: head.saturating_add(body), requests: 1 };
        let spent = ledger
            .fits(budgets, now, &origin.host, whole)
            .and_then(|()| ledger.tell(budgets, now, &origin.host, &route.host, target))
            .and_then(|()| ledger.spend(budgets, now, &origin.host, Amount { bytes: head, ..whole }));
        spent.map_err(|over| {
            facts.over = Some(over);
            Reason::BudgetExceeded
        })
    }

    fn spend(&self, rules: &Rules, host: &HostName, amount: Amount) -> Result<(), Over> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.spend(&rules.policy().budgets, self.opened.elapsed(), host, amount)
    }
}

/// A body on its way upstream.
#[derive(Debug)]
pub(crate) struct Sent {
    body: RequestBody,
    flow: Arc<Flow>,
    stopped: bool,
}

impl Sent {
    pub(crate) fn new(body: RequestBody, flow: Arc<Flow>) -> Sent {
        Sent { body, flow, stopped: false }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.body.is_whole()
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.stopped {
            return Poll::Ready(None);
        }
        if this.flow.egress.is_frozen() {
            this.stopped = true;
            return Poll::Ready(Some(Err(BodyError::Frozen)));
        }
        let polled = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Err(error)) = &polled {
            this.flow.refuse(error);
        }
        let length = match &polled {
            Some(Ok(frame)) => frame.data_ref().map_or_else(|| frame.trailers_ref().map_or(0, head_length), Bytes::len),
            Some(Err(_)) | None => 0,
        };
        if let Err(reason) = this.flow.send(length) {
            this.stopped = true;
            return Poll::Ready(Some(Err(BodyError::Refused(reason))));
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.stopped || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body on its way to the agent; one without a flow is the gate's own.
pub(crate) struct Returned {
    body: ResponseBody,
    flow: Option<Arc<Flow>>,
    /// Comes when what was granted is taken back.
    revoked: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl std::fmt::Debug for Returned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Returned").field("body", &self.body).finish_non_exhaustive()
    }
}

impl Returned {
    pub(crate) fn new(body: ResponseBody, flow: Arc<Flow>, lent: Option<Lasting>) -> Returned {
        let revoked = lent.filter(|_| !body.is_end_stream()).map(|lent| Box::pin(lent.revoked()) as _);
        Returned { body, flow: Some(flow), revoked }
    }
}

impl From<ResponseBody> for Returned {
    fn from(body: ResponseBody) -> Returned {
        Returned { body, flow: None, revoked: None }
    }
}

impl Body for Returned {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.flow.as_ref().is_some_and(|flow| flow.egress.is_frozen()) {
            return Poll::Ready(Some(Err(BodyError::Frozen)));
        }
        if let Some(revoked) = &mut this.revoked
            && revoked.as_mut().poll(cx).is_ready()
        {
            this.revoked = None;
            return Poll::Ready(Some(Err(BodyError::Refused(Reason::NoRoute))));
        }
        let polled = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let (Some(flow), Some(Ok(frame))) = (&this.flow, &polled) {
            flow.receive(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// As they are written: names, values and what stands between them.
pub(crate) fn head_length(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}
