//! A secret that opens something. Where a value that holds one is printed, it is not.

use std::fmt;
use std::ops::Deref;

#[derive(Clone, Default, PartialEq, Eq)]
pub struct Token(String);

impl From<String> for Token {
    fn from(token: String) -> Self {
        Self(token)
    }
}

impl From<&str> for Token {
    fn from(token: &str) -> Self {
        Self(token.to_owned())
    }
}

impl Deref for Token {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn a_configuration_that_is_printed_tells_no_token() {
        let secret = "of-nobody-else-0123";
        let sections = ["twin]\nurl = \"http://b:1\"", "admin]", "markers]", "remote_workers]\nlisten = \"0.0.0.0:9\""];
        let text: String = sections.iter().map(|table| format!("[origin.{table}\ntoken = \"{secret}\"\n")).collect();
        let origin = Config::parse(&text, []).unwrap_or_else(|problems| panic!("{problems:?}")).origin.unwrap();
        let printed = format!("{origin:?}");
        assert_eq!(&*origin.remote_workers.unwrap().token, secret);
        assert!(printed.contains("token: Token") && !printed.contains(secret), "{printed}");
    }
}
