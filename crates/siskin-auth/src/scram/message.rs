//! The four messages of an exchange (RFC 5802, section 7), from the server's side.

use base64ct::{Base64, Encoding as _};

/// `n,,n=user,r=nonce`
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientFirst<'a> {
    /// All before the bare message: whether the client could bind to the channel, and as whom it wants to act.
    pub(crate) gs2_header: &'a str,
    /// The message without it.
    pub(crate) bare: &'a str,
    pub(crate) user: String,
    pub(crate) nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, &'static str> {
        let text = text(data)?;
        let (binding, rest) = text.split_once(',').ok_or("no GS2 header")?;
        match binding {
            // `y`: the client could bind and believes that we cannot, which is so.
            "n" | "y" => {}
            _ if binding.starts_with("p=") => return Err("channel binding is not possible here"),
            _ => return Err("no GS2 header"),
        }
        let (other, bare) = rest.split_once(',').ok_or("no GS2 header")?;
        let gs2_header = &text[..text.len() - bare.len()];
        let mut attributes = bare.split(',');
        let user = match attributes.next().and_then(|attribute| attribute.split_once('=')) {
            Some(("n", user)) => name(user)?,
            Some(("m", _)) => return Err("mandatory extensions are not known here"),
            _ => return Err("no user name"),
        };
        match other.split_once('=') {
            None if other.is_empty() => {}
            Some(("a", other)) if name(other)? == user => {}
            Some(("a", _)) => return Err("nobody may act as somebody else"),
            _ => return Err("no GS2 header"),
        }
        let nonce = attributes.next().and_then(|attribute| attribute.strip_prefix("r=")).ok_or("no nonce")?;
        let is_printable = nonce.bytes().all(|byte| byte.is_ascii_graphic());
        if nonce.is_empty() || nonce.len() > NONCE_MAX || !is_printable {
            return Err("a nonce that is empty, too long or not printable");
        }
        Ok(Self { gs2_header, bare, user, nonce })
    }
}

/// `r=nonce,s=salt,i=4096`
pub(crate) fn server_first(nonce: &str, salt: &[u8], iterations: u32) -> String {
    format!("r={nonce},s={},i={iterations}", Base64::encode_string(salt))
}

/// `c=biws,r=nonce,p=proof`
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientFinal<'a> {
    /// The GS2 header again.
    pub(crate) binding: Vec<u8>,
    pub(crate) nonce: &'a str,
    pub(crate) proof: [u8; 32],
    pub(crate) without_proof: &'a str,
}

impl<'a> ClientFinal<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, &'static str> {
        let text = text(data)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or("no proof")?;
        let mut bytes = [0; 32];
        let is_proof = Base64::decode(proof, &mut bytes).is_ok_and(|proof| proof.len() == 32);
        if !is_proof {
            return Err("a proof that is no Base64 of 32 bytes");
        }
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|attribute| attribute.strip_prefix("c="));
        let binding =
            binding.and_then(|binding| Base64::decode_vec(binding).ok()).ok_or("no channel binding")?;
        let nonce = attributes.next().and_then(|attribute| attribute.strip_prefix("r=")).ok_or("no nonce")?;
        Ok(Self { binding, nonce, proof: bytes, without_proof })
    }
}

/// `v=signature`
pub(crate) fn server_final(signature: &[u8]) -> String {
    format!("v={}", Base64::encode_string(signature))
}

fn text(data: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(data).ok().filter(|text| !text.contains('\0')).ok_or("a message that is no text")
}

/// A name, in which `,` and `=` are written as `=2C` and `=3D`.
fn name(text: &str) -> Result<String, &'static str> {
    let mut parts = text.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err("a user name with `=` in it that is not written `=3D`"),
        };
        name.push(character);
        name.push_str(rest);
    }
    if name.is_empty() { Err("an empty user name") } else { Ok(name) }
}

/// Longer than anybody's: what a client makes up is sent back and kept until it answers.
const NONCE_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_headers_come_out_as_they_were_meant() {
        let first = ClientFirst::parse(b"y,a=a=2Cb=3Dc,n=a=2Cb=3Dc,r=x,ext=1").unwrap();
        assert_eq!((first.user.as_str(), first.nonce), ("a,b=c", "x"));
        assert_eq!((first.gs2_header, first.bare), ("y,a=a=2Cb=3Dc,", "n=a=2Cb=3Dc,r=x,ext=1"));
    }

    #[test]
    fn what_is_wrong_with_a_message_is_said() {
        let first: [(&[u8], &str); 10] = [
            (b"", "no GS2 header"),
            (b"n", "no GS2 header"),
            (b"x,,n=u,r=x", "no GS2 header"),
            (b"p=tls-unique,,n=u,r=x", "channel binding is not possible here"),
            (b"n,a=other,n=u,r=x", "nobody may act as somebody else"),
            (b"n,,m=1,n=u,r=x", "mandatory extensions are not known here"),
            (b"n,,n=,r=x", "an empty user name"),
            (b"n,,n=a=b,r=x", "a user name with `=` in it that is not written `=3D`"),
            (b"n,,n=u,r=", "a nonce that is empty, too long or not printable"),
            (b"n,,n=\xff,r=x", "a message that is no text"),
        ];
        for (data, why) in first {
            assert_eq!(ClientFirst::parse(data).unwrap_err(), why, "{data:?}");
        }
        let last: [(&[u8], &str); 4] = [
            (b"c=biws,r=x", "no proof"),
            (b"c=biws,r=x,p=AAAA", "a proof that is no Base64 of 32 bytes"),
            (b"r=x,c=biws,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "no channel binding"),
            (b"c=biws,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "no nonce"),
        ];
        for (data, why) in last {
            assert_eq!(ClientFinal::parse(data).unwrap_err(), why, "{data:?}");
        }
    }
}
