//! Certificates that openssl makes and checks, shown by clients that use it: Debian's mosquitto_pub and `openssl s_client`.
//!
//! Where they are not installed these tests say so and pass, unless `SISKIN_REQUIRE_INTEROP` is set, as it is in the
//! project's gate. `.ci/install` installs them.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use siskin_server::Server;
use siskin_server::config::{Certificate, ClientCertificates};
use support::broker;
use support::foreign::installed;
use support::pki::{Folder, asking_listener};

#[test]
fn a_good_certificate_of_openssl_s_comes_in_and_every_other_does_not() {
    let Some(world) = World::new() else { return };
    world.expect(true, &world.shown("good"));
    for bad in ["foreign", "expired", "early", "revoked"] {
        world.expect(false, &world.shown(bad));
    }
    // Nothing shown at all.
    world.expect(false, &[]);
    world.expect(true, &world.shown("good"));
    world.server.stop();
}

#[test]
fn a_client_of_openssl_s_does_not_take_another_server_for_the_one_it_meant() {
    let Some(world) = World::new() else { return };
    // The certificate is for localhost alone.
    let by_address = world.publish("127.0.0.1", "ca", &world.shown("good"));
    assert!(!by_address.status.success(), "taken for 127.0.0.1");
    let anyhow = [&world.shown("good")[..], &["--insecure".to_owned()]].concat();
    assert!(world.publish("127.0.0.1", "ca", &anyhow).status.success());
    assert!(!world.publish("localhost", "other-ca", &world.shown("good")).status.success());
    world.expect(true, &world.shown("good"));
    world.server.stop();
}

#[test]
fn a_certificate_is_revoked_by_the_list_that_is_reloaded() {
    let Some(world) = World::new() else { return };
    world.expect(true, &world.shown("good"));
    world.openssl(
        "openssl ca -config ca.cnf -batch -revoke good.pem; openssl ca -config ca.cnf -gencrl -out crl.pem",
    );
    world.server.reload_tls();
    world.expect(false, &world.shown("good"));
    world.expect(true, &world.shown("better"));
    world.server.stop();
}

#[test]
fn renegotiation_is_refused_and_others_are_served() {
    let Some(world) = World::new() else { return };
    let mut child = Command::new("openssl")
        .args([
            "s_client", "-tls1_2", "-CAfile", "ca.pem", "-cert", "good.pem", "-key", "good.key", "-connect",
        ])
        .arg(world.server.addresses()[0].to_string())
        .current_dir(world.folder.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A line of a single R is the wish to negotiate anew.
    child.stdin.take().unwrap().write_all(b"R\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation") || !output.status.success(), "{said}");
    world.expect(true, &world.shown("good"));
    world.server.stop();
}

/// A broker that asks for certificates, and a folder of good and bad ones.
struct World {
    server: Server,
    folder: Folder,
}

impl World {
    fn new() -> Option<Self> {
        installed("mosquitto_pub")?;
        installed("openssl")?;
        let folder = Folder::new();
        folder.put("ca.cnf", CA_CONFIG);
        run(&folder, MAKE);
        let certificate = Certificate { chain: folder.path("server.pem"), key: folder.path("server.key") };
        let mut listener =
            asking_listener(vec![certificate], ClientCertificates::Required, &folder.path("ca.pem"));
        if let Some(tls) = &mut listener.tls {
            tls.crl = vec![folder.path("crl.pem")];
        }
        let server = broker(|config| config.listeners = vec![listener]);
        Some(Self { server, folder })
    }

    fn openssl(&self, script: &str) {
        run(&self.folder, script);
    }

    /// The flags with which a client shows a certificate.
    fn shown(&self, name: &str) -> Vec<String> {
        let file = |kind| self.path(&format!("{name}.{kind}")).display().to_string();
        ["--cert".to_owned(), file("pem"), "--key".to_owned(), file("key")].to_vec()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    fn publish(&self, host: &str, ca: &str, flags: &[String]) -> Output {
        let port = self.server.addresses()[0].port().to_string();
        Command::new("mosquitto_pub")
            .args(["-h", host, "-p", &port, "-t", "a", "-m", "x", "-q", "1", "--cafile"])
            .arg(self.path(&format!("{ca}.pem")))
            .args(flags)
            .output()
            .unwrap()
    }

    fn expect(&self, comes_in: bool, flags: &[String]) {
        let output = self.publish("localhost", "ca", flags);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), comes_in, "{flags:?}: {said}");
    }
}

/// Runs `script` in `folder`.
fn run(folder: &Folder, script: &str) {
    let output = Command::new("sh").args(["-e", "-c", script]).current_dir(folder.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Two authorities, and what the first has signed. `early` is good from 2090 on.
const MAKE: &str = "
key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
for ca in ca other-ca; do
    openssl req -x509 $key -keyout $ca.key -out $ca.pem -days 3650 -subj \"/CN=$ca of a test\"
done
touch index; echo 01 > crlnumber; mkdir new
sign() {
    name=$1; shift
    openssl req $key -keyout $name.key -out $name.csr -subj /CN=$name
    openssl ca -config ca.cnf -batch -in $name.csr -out $name.pem -notext \"$@\"
}
sign server -extensions server
sign good -extensions client
sign better -extensions client
sign revoked -extensions client
sign expired -extensions client -startdate 20010101000000Z -enddate 20020101000000Z
sign early -extensions client -startdate 20900101000000Z -enddate 20910101000000Z
sign foreign -extensions client -cert other-ca.pem -keyfile other-ca.key
openssl ca -config ca.cnf -batch -revoke revoked.pem
openssl ca -config ca.cnf -gencrl -out crl.pem
";

const CA_CONFIG: &str = "
[ca]
default_ca = test
[test]
database = index
new_certs_dir = new
crlnumber = crlnumber
rand_serial = yes
certificate = ca.pem
private_key = ca.key
default_md = sha256
default_days = 3650
default_crl_days = 3650
policy = any
unique_subject = no
[any]
commonName = supplied
[server]
subjectAltName = DNS:localhost
[client]
extendedKeyUsage = clientAuth
";
