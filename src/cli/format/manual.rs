//! The language of formats in words, for the manual pages.

/// A section of the manual page of every tool that prints messages.
pub const MANUAL: &str = "\
The format of -F is printed for each message, with a newline behind it unless -N is given. In it, \
%, @ and \\ begin what is replaced:

  %t   topic
  %p   payload as it is, cut to the width if there is one
  %x   payload in hexadecimal digits
  %X   payload in hexadecimal digits, upper case
  %f   payload of 4 bytes as a floating point number
  %d   payload of 8 bytes as a floating point number
  %l   length of the payload in bytes
  %j   JSON object of the whole message, payload as text
  %J   JSON object of the whole message, payload as JSON
  %m   packet identifier, 0 at QoS 0
  %q   QoS
  %r   1 for a retained message, 0 for another
  %I   local time as 2026-11-20T11:30:25+0100
  %U   Unix time in seconds with nine decimals
  %%   percent sign

And for messages of MQTT 5:

  %A   topic alias
  %C   content type
  %D   correlation data
  %E   message expiry interval in seconds
  %F   payload format indicator
  %P   user properties as name:value, with spaces between
  %R   response topic
  %S   subscription identifier, the first of several

Between % and the letter may stand, in this order: - for padding on the right instead of the left, \
0 for zeros instead of spaces, the width to pad to, a dot with the precision, and a punctuation \
character or space. The precision is the number of bytes to cut text to, of decimals, or of \
hexadecimal digits in a group; the character stands between groups. %-20t pads the topic to 20 \
bytes, %.2:x prints 61:62:63. Floating point numbers are in the byte order of this machine.

@ begins local time, in the conversions of strftime: @H is the hour. @N are the nanoseconds, and @@ \
is an at sign.

The escapes are \\\\ (backslash), \\0 (NUL), \\a (bell), \\e (escape), \\n (newline), \\r (carriage \
return), \\t (tab) and \\v (vertical tab).

What cannot be printed, such as a payload for %J that is not JSON, is reported on standard error, \
and the rest of the format printed. In JSON, a payload or correlation data that is not UTF-8 stands as base64 in payload_base64 or \
correlation-data_base64.";

#[cfg(test)]
mod tests {
    use super::{super::Format, *};

    #[test]
    fn every_conversion_and_escape_is_in_the_manual() {
        for c in (' '..='~').filter(|c| c.is_ascii_alphanumeric() || "%\\".contains(*c)) {
            for introducer in ['%', '\\'] {
                let word = format!("{introducer}{c}");
                if Format::parse(&word).is_ok() {
                    let is_explained = MANUAL.split_whitespace().any(|found| found == word);
                    assert!(is_explained, "{word}");
                }
            }
        }
    }
}
