//! Reads a configuration that is a JSON object: texts and whole numbers by their names.
//!
//! Members that nobody asks for may be anything, as long as they are JSON. A parser of its own, because crates for JSON
//! come with more than that: `serde_json` makes a filter larger by 37 kB.

#![allow(dead_code)] // a filter without numbers asks for none

use std::fmt;

pub type Result<T> = std::result::Result<T, Problem>;

/// What is wrong with a configuration: a subject, and what to say of it.
pub struct Problem(pub &'static str, pub &'static str);

impl fmt::Display for Problem {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        write!(to, "{} {}", self.0, self.1)
    }
}

/// Objects and lists in each other; more of them than anybody writes would only use up the stack.
const DEEPEST: u32 = 32;

pub struct Object(Vec<(String, Value)>);

enum Value {
    Text(String),
    Whole(u32),
    Other,
}

impl Object {
    /// The object that `text` is; no text at all counts as `{}`.
    pub fn parse(text: &[u8]) -> Result<Object> {
        let mut reader = Reader { rest: text };
        if text.is_empty() {
            return Ok(Object(Vec::new()));
        }
        let object = reader.object(1)?;
        match reader.peek() {
            None => Ok(object),
            Some(_) => broken("goes on after the object"),
        }
    }

    /// The text that stands under this name, or else the default.
    pub fn text(&self, name: &'static str, default: &str) -> Result<String> {
        match self.find(name) {
            None => Ok(default.to_string()),
            Some(Value::Text(text)) => Ok(text.clone()),
            Some(_) => Err(Problem(name, "must be a text")),
        }
    }

    /// The number that stands under this name, or else the default.
    pub fn whole(&self, name: &'static str, default: u32) -> Result<u32> {
        match self.find(name) {
            None => Ok(default),
            Some(Value::Whole(number)) => Ok(*number),
            Some(_) => Err(Problem(name, "must be a whole number")),
        }
    }

    /// Of two members with one name, the last counts.
    fn find(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn object(&mut self, depth: u32) -> Result<Object> {
        let mut members = Vec::new();
        self.expect(b'{')?;
        while self.peek() != Some(b'}') {
            let name = self.text()?;
            self.expect(b':')?;
            members.push((name, self.value(depth)?));
            if !self.another(b'}')? {
                break;
            }
        }
        self.expect(b'}')?;
        Ok(Object(members))
    }

    fn list(&mut self, depth: u32) -> Result<()> {
        self.expect(b'[')?;
        while self.peek() != Some(b']') {
            self.value(depth)?;
            if !self.another(b']')? {
                break;
            }
        }
        self.expect(b']')
    }

    /// Whether a comma says that one more follows, and that is not the end.
    fn another(&mut self, end: u8) -> Result<bool> {
        if self.peek() != Some(b',') {
            return Ok(false);
        }
        self.rest = &self.rest[1..];
        if self.peek() == Some(end) {
            return broken("has a comma that nothing follows");
        }
        Ok(true)
    }

    fn value(&mut self, depth: u32) -> Result<Value> {
        match self.peek() {
            Some(b'{' | b'[') if depth == DEEPEST => return broken("is nested too deeply"),
            Some(b'"') => return self.text().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => return self.number(),
            Some(b'{') => drop(self.object(depth + 1)?),
            Some(b'[') => self.list(depth + 1)?,
            _ => {
                let words: [&[u8]; 3] = [b"true", b"false", b"null"];
                match words.iter().find_map(|word| self.rest.strip_prefix(*word)) {
                    Some(rest) => self.rest = rest,
                    None => return broken("has a value that is missing or misspelt"),
                }
            }
        }
        Ok(Value::Other)
    }

    fn number(&mut self) -> Result<Value> {
        let is_negative = self.skip(b'-');
        let begins_with_zero = self.rest.first() == Some(&b'0');
        let (digits, value) = self.digits()?;
        if begins_with_zero && digits > 1 {
            return broken("has a number that begins with 0");
        }
        let mut whole = if is_negative { None } else { value };
        if self.skip(b'.') {
            self.digits()?;
            whole = None;
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _sign = self.skip(b'+') || self.skip(b'-');
            self.digits()?;
            whole = None;
        }
        Ok(whole.map_or(Value::Other, Value::Whole))
    }

    /// How many digits there are, and their value where it fits into 32 bits.
    fn digits(&mut self) -> Result<(usize, Option<u32>)> {
        let mut value = Some(0u32);
        let mut count = 0;
        while let Some(digit @ b'0'..=b'9') = self.rest.first() {
            value =
                value.and_then(|value| value.checked_mul(10)?.checked_add(u32::from(digit - b'0')));
            self.rest = &self.rest[1..];
            count += 1;
        }
        if count == 0 {
            return broken("has a number without digits");
        }
        Ok((count, value))
    }

    fn text(&mut self) -> Result<String> {
        if !self.skip(b'"') {
            return broken("has a text that does not begin with \"");
        }
        let mut bytes = Vec::new();
        loop {
            match self.next()? {
                b'"' => return String::from_utf8(bytes).or_else(|_| broken("is not UTF-8")),
                b'\\' => {
                    let mut utf8 = [0; 4];
                    bytes.extend_from_slice(self.escaped()?.encode_utf8(&mut utf8).as_bytes());
                }
                0..=0x1f => return broken("has a control character in a text"),
                byte => bytes.push(byte),
            }
        }
    }

    fn escaped(&mut self) -> Result<char> {
        Ok(match self.next()? {
            byte @ (b'"' | b'\\' | b'/') => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut code = self.four_hex_digits()?;
                if (0xd800..0xdc00).contains(&code) && self.skip(b'\\') && self.skip(b'u') {
                    // UTF-16: two of them make one character; whatever else follows makes none.
                    let low = self.four_hex_digits()?.wrapping_sub(0xdc00);
                    code = if low < 0x400 {
                        0x10000 + ((code - 0xd800) << 10) + low
                    } else {
                        code
                    };
                }
                match char::from_u32(code) {
                    Some(character) => character,
                    None => return broken("has half a surrogate pair"),
                }
            }
            _ => return broken("has an unknown escape in a text"),
        })
    }

    fn four_hex_digits(&mut self) -> Result<u32> {
        let mut code = 0;
        for _ in 0..4 {
            match char::from(self.next()?).to_digit(16) {
                Some(digit) => code = code * 16 + digit,
                None => return broken("has a \\u without four hexadecimal digits"),
            }
        }
        Ok(code)
    }

    /// The next byte that is no white space; it stays.
    fn peek(&mut self) -> Option<u8> {
        while let Some((b' ' | b'\t' | b'\n' | b'\r', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    fn expect(&mut self, wanted: u8) -> Result<()> {
        self.peek();
        if self.skip(wanted) {
            return Ok(());
        }
        broken("lacks a bracket, a colon or a comma, or is no JSON object at all")
    }

    fn skip(&mut self, wanted: u8) -> bool {
        match self.rest.split_first() {
            Some((byte, rest)) if *byte == wanted => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn next(&mut self) -> Result<u8> {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                Ok(*byte)
            }
            None => broken("ends within a text"),
        }
    }
}

fn broken<T>(how: &'static str) -> Result<T> {
    Err(Problem("it", how))
}
