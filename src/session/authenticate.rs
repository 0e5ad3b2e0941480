//! Enhanced authentication and re-authentication (§4.12): whose turn it is, and what AUTH packets
//! may say. What the data means is the owner's business.

use std::time::Instant;

use crate::codec::{
    Auth, PacketType, Properties, PropertiesRef, Property, PropertyOwner, PropertyValue,
    ReasonCode, Version,
};

use super::state::State;
use super::{Event, ProtocolError, Refused, RefusedReason, Session};

/// The authentication of a session that has a method.
#[derive(Debug)]
pub(super) struct Authentication {
    method: Box<str>,
    /// What CONNECT carries of it, besides what the configuration does.
    announced: Properties,
    turn: Turn,
    /// AUTH packets that wait to be written.
    pub(super) output: Vec<u8>,
}

/// ```text
///          CONNECT, AUTH (re-authenticate)          AUTH (continue)
/// Nobody ────────────────────────────────► Broker ─────────────────► Owner
///   ▲          CONNACK, AUTH (success)       │ ▲    AUTH (continue)    │
///   └────────────────────────────────────────┘ └───────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Nobody,
    Broker,
    Owner,
}

impl Session {
    /// Sets the authentication method for the next link, with the data that CONNECT carries and
    /// further user properties for it. 5.0 only. Without a call the link has the method of
    /// [`Config::connect_properties`](super::Config::connect_properties), if that has one.
    ///
    /// # Errors
    ///
    /// When CONNECT cannot have them, or the configuration has a method already.
    pub fn set_authentication(
        &mut self,
        method: &str,
        data: Option<&[u8]>,
        properties: Properties,
    ) -> Result<(), RefusedReason> {
        if self.config.version != Version::V5 {
            return Err(RefusedReason::OnlyV5);
        }
        let announced = auth_properties(method, data, properties)?;
        let mut all = self.config.connect_properties.clone();
        all.extend(announced.as_ref());
        all.check(PropertyOwner::Packet(PacketType::Connect))?;
        self.authentication = Some(Box::new(Authentication::new(method, announced)));
        Ok(())
    }

    /// Answers [`Event::Authenticate`].
    ///
    /// # Errors
    ///
    /// When it is not this side's turn, or AUTH cannot have the data or the properties.
    pub fn authenticate(
        &mut self,
        _now: Instant,
        data: Option<&[u8]>,
        properties: Properties,
    ) -> Result<(), Refused<()>> {
        self.append_auth(Turn::Owner, ReasonCode::CONTINUE_AUTHENTICATION, data, properties)
            .map_err(|reason| Refused { command: (), reason })
    }

    /// Begins to authenticate again, on a connection that was authenticated
    /// \[MQTT-4.12.1-1\]. [`Event::Authenticate`] and [`Event::Reauthenticated`] follow, or the
    /// broker closes the connection.
    ///
    /// # Errors
    ///
    /// When there is no connection or no method, while another authentication is under way, or when
    /// AUTH cannot have the data or the properties.
    pub fn reauthenticate(
        &mut self,
        _now: Instant,
        data: Option<&[u8]>,
        properties: Properties,
    ) -> Result<(), Refused<()>> {
        self.check_reauthenticate()
            .and_then(|()| {
                self.append_auth(Turn::Nobody, ReasonCode::REAUTHENTICATE, data, properties)
            })
            .map_err(|reason| Refused { command: (), reason })
    }

    /// Checks whether [`reauthenticate`](Session::reauthenticate) may be called: it is too late for
    /// that once data was made for it.
    ///
    /// # Errors
    ///
    /// When there is no connection or no method, and while another authentication is under way.
    pub fn check_reauthenticate(&self) -> Result<(), RefusedReason> {
        Err(RefusedReason::Authentication(match (&self.state, &self.authentication) {
            (State::Online { .. }, Some(authentication)) => match authentication.turn {
                Turn::Nobody => return Ok(()),
                Turn::Broker | Turn::Owner => "one is under way",
            },
            (State::Online { .. }, None) => "the connection has no method",
            _ => "there is no connection",
        }))
    }

    fn append_auth(
        &mut self,
        turn: Turn,
        reason: ReasonCode,
        data: Option<&[u8]>,
        properties: Properties,
    ) -> Result<(), RefusedReason> {
        let version = self.config.version;
        let max = self.limits().maximum_packet_size;
        let Some(authentication) = &mut self.authentication else {
            return Err(RefusedReason::Authentication("the connection has no method"));
        };
        if authentication.turn != turn {
            return Err(RefusedReason::Authentication("it is not this side's turn"));
        }
        let bare = auth_properties(&authentication.method, data, Properties::new())?;
        let full = auth_properties(&authentication.method, data, properties)?;
        full.check(PropertyOwner::Packet(PacketType::Auth))?;
        let mut size = usize::MAX;
        // What only explains is left out where it makes the packet too large [MQTT-3.15.2-2].
        for properties in [&full, &bare] {
            let auth = Auth { reason, properties: properties.as_ref() };
            size = auth.encoded_len(version).unwrap_or(usize::MAX);
            if size <= max as usize && auth.encode(version, &mut authentication.output).is_ok() {
                authentication.turn = Turn::Broker;
                return Ok(());
            }
        }
        Err(RefusedReason::TooLarge { size, max })
    }

    /// Takes note of a new link, on which CONNECT opens the authentication if it has a method.
    pub(super) fn begin_authentication(&mut self) {
        let configured = self.config.connect_properties.as_ref().authentication_method();
        if let Some(method) = configured {
            let authentication = Authentication::new(method, Properties::default());
            self.authentication = Some(Box::new(authentication));
        }
        if let Some(authentication) = &mut self.authentication {
            authentication.turn = Turn::Broker;
            authentication.output.clear();
        }
    }

    /// What CONNECT carries of the authentication.
    pub(super) fn announced_authentication(&self) -> PropertiesRef<'_> {
        let authentication = self.authentication.as_ref();
        authentication.map(|authentication| authentication.announced.as_ref()).unwrap_or_default()
    }

    /// Ends the authentication with its link.
    pub(super) fn end_authentication(&mut self) {
        if let Some(authentication) = &mut self.authentication {
            authentication.turn = Turn::Nobody;
            authentication.output = Vec::new();
        }
    }

    /// Takes an AUTH.
    pub(super) fn handle_auth(&mut self, auth: Auth<'_>) -> Result<(), ProtocolError> {
        let breach = |clause, text| {
            Err(ProtocolError::new(PacketType::Auth, ReasonCode::PROTOCOL_ERROR, clause, text))
        };
        self.check_problem_information(PacketType::Auth, auth.properties)?;
        let online = matches!(self.state, State::Online { .. });
        let Some(authentication) = &mut self.authentication else {
            return breach("MQTT-4.12.0-6", "authentication that this client did not ask for");
        };
        if auth.properties.authentication_method() != Some(&*authentication.method) {
            return breach("MQTT-4.12.0-5", "another authentication method than that of CONNECT");
        }
        match (authentication.turn, auth.reason) {
            (Turn::Broker, ReasonCode::CONTINUE_AUTHENTICATION) => {
                authentication.turn = Turn::Owner;
                let properties = Properties::from(auth.properties);
                self.events.push_back(Event::Authenticate { properties });
                Ok(())
            }
            (Turn::Broker, ReasonCode::SUCCESS) if online => {
                authentication.turn = Turn::Nobody;
                let properties = Properties::from(auth.properties);
                self.events.push_back(Event::Reauthenticated { properties });
                Ok(())
            }
            (Turn::Broker, _) => {
                breach("MQTT-4.12.0-1", "success of a CONNECT by other than CONNACK")
            }
            (Turn::Nobody, _) => {
                breach("MQTT-4.12.1-1", "re-authentication that this client did not ask for")
            }
            (Turn::Owner, _) => breach("MQTT-4.12.0-3", "authentication data out of turn"),
        }
    }

    /// Checks the method in a CONNACK that accepts, with which the authentication has succeeded.
    pub(super) fn check_authenticated(
        &mut self,
        properties: PropertiesRef<'_>,
    ) -> Result<(), ProtocolError> {
        let breach = |clause, text| {
            Err(ProtocolError::new(PacketType::ConnAck, ReasonCode::PROTOCOL_ERROR, clause, text))
        };
        match (&mut self.authentication, properties.authentication_method()) {
            (None, None) => Ok(()),
            (Some(authentication), Some(method)) if *method == *authentication.method => {
                authentication.turn = Turn::Nobody;
                Ok(())
            }
            (None, Some(_)) => {
                breach("MQTT-4.12.0-6", "authentication that this client did not ask for")
            }
            (Some(_), _) => breach("MQTT-4.12.0-5", "not the authentication method of CONNECT"),
        }
    }
}

impl Authentication {
    fn new(method: &str, announced: Properties) -> Authentication {
        Authentication { method: method.into(), announced, turn: Turn::Nobody, output: Vec::new() }
    }
}

fn auth_properties(
    method: &str,
    data: Option<&[u8]>,
    others: Properties,
) -> Result<Properties, RefusedReason> {
    let mut properties = Properties::new();
    properties.push(Property::AuthenticationMethod, PropertyValue::Utf8(method))?;
    if let Some(data) = data {
        properties.push(Property::AuthenticationData, PropertyValue::Binary(data))?;
    }
    properties.extend(others.as_ref());
    Ok(properties)
}
