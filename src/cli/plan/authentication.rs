//! Enhanced authentication (§4.12) whose words are all on the command line:
//! `-D connect authentication-method`, `-D connect authentication-data` and `-D auth`.

use anyhow::{Result, bail};

use crate::{
    client::{AuthData, AuthError, Authenticator},
    codec::{Properties, PropertiesRef, Property},
};

/// What is said in an enhanced authentication, the same for each connection and each challenge.
#[derive(Clone, Debug)]
pub struct AuthenticationPlan {
    method: String,
    /// The authentication data of CONNECT, if any.
    begin: Properties,
    /// The properties of each AUTH, beside the method.
    answer: Properties,
}

impl AuthenticationPlan {
    /// Takes the method and the data out of the properties of CONNECT; `answer` are those of AUTH.
    /// Without a method there is no plan.
    ///
    /// # Errors
    /// What is of no use, or wrong, without a method.
    pub(super) fn new(connect: PropertiesRef<'_>, answer: Properties) -> Result<Option<Self>> {
        let mut begin = Properties::new();
        for (property, value) in connect {
            if property == Property::AuthenticationData {
                // It was in a list before.
                let _ = begin.push(property, value);
            }
        }
        match connect.authentication_method() {
            Some(method) => Ok(Some(Self { method: method.to_owned(), begin, answer })),
            // §3.1.2.11.10
            None if !begin.is_empty() => bail!(
                "-D connect authentication-data needs a method: add -D connect \
                 authentication-method METHOD"
            ),
            None if !answer.is_empty() => bail!(
                "-D auth answers the challenge of a method: add -D connect authentication-method \
                 METHOD"
            ),
            None => Ok(None),
        }
    }
}

impl Authenticator for AuthenticationPlan {
    fn method(&self) -> &str {
        &self.method
    }

    fn start(&mut self) -> Result<AuthData, AuthError> {
        Ok(step(&self.begin))
    }

    fn step(&mut self, _: PropertiesRef<'_>) -> Result<AuthData, AuthError> {
        if self.answer.is_empty() {
            return Err("the broker has sent a challenge: add its answer with -D auth \
                        authentication-data DATA"
                .into());
        }
        Ok(step(&self.answer))
    }
}

fn step(list: &Properties) -> AuthData {
    let mut step = AuthData::none();
    for (property, value) in list.as_ref() {
        if property != Property::AuthenticationData {
            // It was in a list before.
            let _ = step.properties.push(property, value);
        }
    }
    step.data = list.as_ref().authentication_data().map(<[u8]>::to_vec);
    step
}
