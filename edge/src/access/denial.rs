//! Why a request is turned away before anything is looked up: one reason each, which is a label in the metrics too.

use crate::metrics::Label;

/// Whose rule said no, and what the viewer or the operator can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    #[error("this node serves no viewers at this address; ask its operator")]
    Address,
    #[error("this node serves no viewers in this country; ask its operator")]
    Country,
    #[error("a token is needed here; ask for a signed URL")]
    NoToken,
    #[error("the token cannot be read; send it as it was issued")]
    Unreadable,
    #[error("the token is signed with a key that this node does not take; ask for a new one")]
    UnknownKey,
    #[error("the token's signature is wrong; send it as it was issued")]
    Signature,
    #[error("the token says something that this node cannot check; issue it without that claim")]
    Claim,
    #[error("the token is not valid yet; come back later")]
    Early,
    #[error("the token has expired; ask for a new one")]
    Expired,
    #[error("the token is not for this URL; ask for one that is")]
    Elsewhere,
    #[error("the token is not for this method; ask for one that is")]
    Method,
    #[error("the token is not for this address; ask for a new one from here")]
    AddressOfToken,
    #[error("the token is not for this country; ask for one that is")]
    CountryOfToken,
    #[error("a path with an encoded slash has more than one meaning; write the slash itself")]
    Ambiguous,
}

impl Label for Denial {
    const VALUES: &'static [(Self, &'static str)] = &[
        (Self::Address, "address"),
        (Self::Country, "country"),
        (Self::NoToken, "no_token"),
        (Self::Unreadable, "unreadable"),
        (Self::UnknownKey, "unknown_key"),
        (Self::Signature, "signature"),
        (Self::Claim, "claim"),
        (Self::Early, "early"),
        (Self::Expired, "expired"),
        (Self::Elsewhere, "elsewhere"),
        (Self::Method, "method"),
        (Self::AddressOfToken, "token_address"),
        (Self::CountryOfToken, "token_country"),
        (Self::Ambiguous, "ambiguous"),
    ];

    fn index(self) -> usize {
        self as usize
    }
}
