//! Values of options that need a feature of the build. Without it their parsers say which one, and the
//! types have no values.

#[cfg(feature = "socks5")]
pub use crate::net::Proxy;
#[cfg(feature = "websocket")]
pub use with_websocket::{WebSocketHeader, websocket_header, websocket_path};
#[cfg(not(feature = "websocket"))]
pub use without_websocket::{WebSocketHeader, websocket_header, websocket_path};

/// A SOCKS5 proxy.
#[cfg(not(feature = "socks5"))]
pub type Proxy = std::convert::Infallible;

/// A pre-shared key, in hexadecimal digits.
#[cfg(feature = "psk")]
pub type Psk = super::Secret;

/// A pre-shared key.
#[cfg(not(feature = "psk"))]
pub type Psk = std::convert::Infallible;

/// Parses the URL of a proxy.
#[cfg(feature = "socks5")]
pub fn proxy(text: &str) -> Result<Proxy, String> {
    Proxy::parse(text).map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}

/// Parses the URL of a proxy.
#[cfg(not(feature = "socks5"))]
pub fn proxy(_text: &str) -> Result<Proxy, String> {
    Err(needs("socks5"))
}

/// Parses a pre-shared key.
#[cfg(feature = "psk")]
pub fn psk(text: &str) -> Result<Psk, String> {
    match crate::net::PskOptions::from_hex("identity", text) {
        Ok(_) => Ok(Psk::new(text.as_bytes())),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses a pre-shared key.
#[cfg(not(feature = "psk"))]
pub fn psk(_text: &str) -> Result<Psk, String> {
    Err(needs("psk"))
}

/// What an option answers that this build does not have.
pub fn needs(feature: &str) -> String {
    format!("it needs a build with the feature \"{feature}\": cargo build --features {feature}")
}

#[cfg(feature = "websocket")]
mod with_websocket {
    use std::fmt;

    use zeroize::Zeroizing;

    use crate::net::WebSocketOptions;

    /// A header of the HTTP request that opens a WebSocket. Its value may be a secret.
    #[derive(Clone)]
    pub struct WebSocketHeader {
        /// The name.
        pub name: String,
        /// The value.
        pub value: Zeroizing<String>,
    }

    impl fmt::Debug for WebSocketHeader {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}: [hidden]", self.name)
        }
    }

    /// Parses `NAME: VALUE`.
    pub fn websocket_header(text: &str) -> Result<WebSocketHeader, String> {
        let (name, value) = text.split_once(':').ok_or("must be 'NAME: VALUE'")?;
        WebSocketOptions::default().add_header(name, value).map_err(|error| error.to_string())?;
        Ok(WebSocketHeader { name: name.to_owned(), value: value.to_owned().into() })
    }

    /// Parses the path of a WebSocket.
    pub fn websocket_path(text: &str) -> Result<String, String> {
        WebSocketOptions::default().set_path(text).map_err(|error| error.to_string())?;
        Ok(text.to_owned())
    }
}

#[cfg(not(feature = "websocket"))]
mod without_websocket {
    use super::needs;

    /// A header of the HTTP request that opens a WebSocket.
    pub type WebSocketHeader = std::convert::Infallible;

    /// Parses `NAME: VALUE`.
    pub fn websocket_header(_text: &str) -> Result<WebSocketHeader, String> {
        Err(needs("websocket"))
    }

    /// Parses the path of a WebSocket.
    pub fn websocket_path(_text: &str) -> Result<String, String> {
        Err(needs("websocket"))
    }
}

#[cfg(all(test, feature = "socks5", feature = "websocket"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        let header = websocket_header("Authorization: Bearer s3cret").unwrap();
        assert_eq!((header.name.as_str(), header.value.trim()), ("Authorization", "Bearer s3cret"));
        assert!(!format!("{header:?}").contains("s3cret"));
        for bad in ["s3cret", "a b: s3cret", "Host: s3cret", "A: s3cret\r\nB: c"] {
            let error = websocket_header(bad).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
        for bad in ["ann:s3cret@proxy", "socks5://ann:s3cret@proxy", "socks5h://ann:s3cret@"] {
            let error = proxy(bad).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert_eq!(websocket_path("/a?b"), Ok("/a?b".to_owned()));
        assert!(websocket_path("/a b").is_err());
    }
}
