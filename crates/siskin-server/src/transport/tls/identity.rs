//! Who a client is by its certificate.

use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate, X509Name};
use x509_parser::x509::AttributeTypeAndValue;

use crate::config::Identity;

/// The name in the certificate `der` that `which` asks for, if it has one that can be a name.
pub(crate) fn identity(der: &[u8], which: Identity) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = match which {
        Identity::None => None,
        Identity::CommonName => {
            // The last one: the most specific, as others take it.
            certificate.subject().iter_common_name().last()?.as_str().ok().map(str::to_owned)
        }
        Identity::AlternativeName => {
            let names = certificate.subject_alternative_name().ok()??;
            names.value.general_names.iter().find_map(alternative_name)
        }
        Identity::Subject => distinguished_name(certificate.subject()),
    };
    name.filter(|name| is_usable(name))
}

/// Whether `name` may be a client's: nothing in it ends a string early or hides the rest of it.
pub(crate) fn is_usable(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(char::is_control)
}

fn alternative_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            Some((*name).to_owned())
        }
        _ => None,
    }
}

/// A subject as RFC 2253 writes it, which is how others name clients by it: the last part first, without
/// spaces.
fn distinguished_name(name: &X509Name<'_>) -> Option<String> {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for part in parts.into_iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        for (at, attribute) in part.iter().enumerate() {
            if at > 0 {
                text.push('+');
            }
            put_attribute(attribute, &mut text)?;
        }
    }
    Some(text)
}

fn put_attribute(attribute: &AttributeTypeAndValue<'_>, text: &mut String) -> Option<()> {
    let kind = attribute.attr_type().to_id_string();
    match SHORT_NAMES.iter().find(|(id, _)| *id == kind) {
        Some((_, short)) => text.push_str(short),
        None => text.push_str(&kind),
    }
    text.push('=');
    let value = attribute.as_str().ok()?;
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        let is_special = matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';');
        let is_at_edge = (at == 0 && matches!(character, ' ' | '#')) || (at == last && character == ' ');
        if is_special || is_at_edge {
            text.push('\\');
        }
        text.push(character);
    }
    Some(())
}

/// Short names of the attributes that subjects have.
const SHORT_NAMES: [(&str, &str); 12] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(common_name: &str, alternative: Option<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, "Works, Inc");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names.extend(alternative);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn name(common_name: &str, alternative: Option<SanType>, which: Identity) -> Option<String> {
        identity(&certificate(common_name, alternative), which)
    }

    #[test]
    fn each_part_of_a_certificate_can_be_the_name() {
        let mail = SanType::Rfc822Name("meter@example.org".try_into().unwrap());
        let uri = SanType::URI("urn:meter:7".try_into().unwrap());
        let address = SanType::IpAddress([127, 0, 0, 1].into());
        assert_eq!(name("meter 7", None, Identity::CommonName).as_deref(), Some("meter 7"));
        assert_eq!(name("m", Some(mail), Identity::AlternativeName).as_deref(), Some("meter@example.org"));
        assert_eq!(name("m", Some(uri), Identity::AlternativeName).as_deref(), Some("urn:meter:7"));
        assert_eq!(name("m", Some(address), Identity::AlternativeName), None);
        assert_eq!(name("m", None, Identity::AlternativeName), None);
        assert_eq!(name("m", None, Identity::None), None);
        let subject = name("a,O=b", None, Identity::Subject);
        assert_eq!(subject.as_deref(), Some("CN=a\\,O\\=b,O=Works\\, Inc,C=DE".replace("\\=", "=").as_str()));
    }

    #[test]
    fn a_name_that_would_read_as_another_is_none() {
        for bad in ["admin\0.example", "a\nb", ""] {
            assert_eq!(name(bad, None, Identity::CommonName), None, "{bad:?}");
        }
        assert_eq!(identity(b"no certificate", Identity::CommonName), None);
    }
}
