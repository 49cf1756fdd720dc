//! The line that a worker of another machine says first, and what it is answered. Pure.

use super::VERSION;
use config::Token;
use subtle::ConstantTimeEq;

/// What a worker says first, with the version of the protocol and the token behind it, and a line feed.
const GREETING: &str = "vivid-worker";
/// The answer to one that may stay, before a line feed; any other says why not.
pub const WELCOME: &str = "welcome";
/// Of either line.
pub const GREETING_BYTES_MAX: u64 = 512;

/// Why somebody who calls may not work here. Each is what they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("that is no worker")]
    NoWorker,
    #[error("it is of another release; run the same on both machines")]
    OtherRelease,
    #[error("its token is not that of origin.remote_workers.token")]
    WrongToken,
}

/// The line of a worker.
pub fn greeting(token: &str) -> String {
    format!("{GREETING} {VERSION} {token}\n")
}

/// Judges the line of whoever calls. Tokens are compared in constant time.
///
/// # Errors
/// Why they may not stay.
pub fn judge(line: &[u8], token: &Token) -> Result<(), Denied> {
    let mut words = line.trim_ascii_end().splitn(3, |byte| *byte == b' ');
    if words.next() != Some(GREETING.as_bytes()) {
        return Err(Denied::NoWorker);
    }
    if words.next() != Some(VERSION.to_string().as_bytes()) {
        return Err(Denied::OtherRelease);
    }
    let given = words.next().unwrap_or_default();
    if bool::from(given.ct_eq(token.as_bytes())) { Ok(()) } else { Err(Denied::WrongToken) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_that_of_a_worker_of_this_release_with_the_token_or_it_is_told_why_not() {
        let token = Token::from("0123456789abcdef");
        let said = greeting(&token);
        assert_eq!(judge(said.as_bytes(), &token), Ok(()));
        for (line, denied) in [
            ("", Denied::NoWorker),
            ("\n", Denied::NoWorker),
            ("GET / HTTP/1.1\r\n", Denied::NoWorker),
            ("vivid-worker", Denied::OtherRelease),
            ("vivid-worker 0 0123456789abcdef\n", Denied::OtherRelease),
            (said.trim_end_matches("f\n"), Denied::WrongToken),
            (&said.replace("0123", "0124"), Denied::WrongToken),
            (&said.replace('\n', " more\n"), Denied::WrongToken),
        ] {
            assert_eq!(judge(line.as_bytes(), &token), Err(denied), "{line:?}");
        }
        assert_eq!(judge(b"\xff\xfe\n", &token), Err(Denied::NoWorker));
    }
}
