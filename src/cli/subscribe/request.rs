//! SUBSCRIBE, UNSUBSCRIBE, and what the broker answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::anyhow;

use crate::{
    cli::{
        Tool, connect,
        exit::{Exit, Failure},
        opts::LogOptions,
        plan::SubscribePlan,
        stdio,
    },
    client::{Client, ClientBuilder, RequestError, SubscribeReceipt},
    codec::{ReasonCode, SubscribeOptions as FilterOptions, TopicFilter, Version},
};

/// What the broker says about its answers beside the reason codes. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Explanation(Arc<Mutex<Option<String>>>);

impl Explanation {
    /// Takes note of what the broker says.
    pub(in crate::cli) fn watch(&self, builder: ClientBuilder) -> ClientBuilder {
        let (subscribed, unsubscribed) = (self.clone(), self.clone());
        builder
            .on_subscribe(move |_, result, _| subscribed.keep(result))
            .on_unsubscribe(move |_, result, _| unsubscribed.keep(result))
    }

    fn keep<E>(&self, result: &Result<SubscribeReceipt, E>) {
        if let Ok(receipt) = result {
            *self.lock() = receipt.properties.as_ref().reason_string().map(str::to_owned);
        }
    }

    /// What was said last, in parentheses.
    pub(in crate::cli) fn take(&self) -> String {
        self.lock().take().map_or(String::new(), |text| format!(" ({text:?})"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the SUBSCRIBE and, right behind it, the UNSUBSCRIBEs, and waits for the answers.
///
/// # Errors
/// No answer, or one that refuses every subscription.
pub(super) async fn send(
    client: &Client,
    plan: &SubscribePlan,
    explanation: &Explanation,
    version: Version,
    log: LogOptions,
) -> Result<(), Failure> {
    let subscribe = async {
        if plan.filters.is_empty() {
            return Ok(());
        }
        let properties = plan.subscribe_properties.clone();
        let answers = client.subscribe_many(plan.filters.clone(), properties).await;
        check_answers(&plan.filters, &answers?.reasons, &explanation.take(), log)
    };
    let unsubscribe = async {
        for filter in &plan.unsubscribe {
            let properties = plan.unsubscribe_properties.clone();
            let answers = client.unsubscribe_many(vec![filter.clone()], properties).await?;
            let reasons = &answers.reasons;
            warn_of_refusals([filter], reasons, "to unsubscribe from ", &explanation.take(), log);
        }
        Ok(())
    };
    // The first one that fails ends both.
    match tokio::try_join!(biased; subscribe, unsubscribe) {
        Ok(((), ())) => Ok(()),
        Err(Unanswered::Refused(failure)) => Err(failure),
        Err(Unanswered::Request(error)) => Err(request_failure(error, client, version).await),
    }
}

/// Why subscribing did not come about.
enum Unanswered {
    Request(RequestError),
    Refused(Failure),
}

impl From<RequestError> for Unanswered {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

/// The failure of a request without an answer.
pub(in crate::cli) async fn request_failure(
    error: RequestError,
    client: &Client,
    version: Version,
) -> Failure {
    match error {
        RequestError::Closed => connect::close_failure(client.closed().await, version),
        error @ RequestError::Timeout => Failure::new(Exit::KeepAlive, error),
        error => error.into(),
    }
}

/// Fails if the broker has refused every filter, and warns of each if it has refused some.
fn check_answers(
    filters: &[(TopicFilter, FilterOptions)],
    answers: &[ReasonCode],
    explanation: &str,
    log: LogOptions,
) -> Result<(), Unanswered> {
    match answers.first() {
        Some(first) if answers.iter().all(|reason| reason.is_error()) => {
            let error = anyhow!("the broker refused all subscriptions: {first}{explanation}");
            Err(Unanswered::Refused(Failure::new(Exit::Refused(first.code()), error)))
        }
        _ => {
            let filters = filters.iter().map(|(filter, _)| filter);
            warn_of_refusals(filters, answers, "", explanation, log);
            Ok(())
        }
    }
}

fn warn_of_refusals<'f>(
    filters: impl IntoIterator<Item = &'f TopicFilter>,
    answers: &[ReasonCode],
    what: &str,
    explanation: &str,
    log: LogOptions,
) {
    for (filter, reason) in filters.into_iter().zip(answers) {
        if reason.is_error() && !log.quiet {
            let text = format!("the broker refused {what}{:?}: {reason}{explanation}", &**filter);
            stdio::report(Tool::Sub.name(), &text);
        }
    }
}
