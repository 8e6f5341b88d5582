//! The dashboard: its files, and each page of it in a browser.
//!
//! Where Chromium is not installed the pages are left out with a line that says so, unless `SISKIN_REQUIRE_INTEROP` is
//! set. `SISKIN_SCREENSHOTS=FOLDER` keeps a picture of each page, on a desk in light and dark, and on a phone.

use std::net::{Ipv4Addr, SocketAddr};

use siskin_server::config::{Listener, Protocol, Secret, WebSocket};

use crate::browser::Browser;
use crate::support::{Broker, Client};

/// What a client may call itself, and send, to have a careless page run it.
const HOSTILE: &str = "<img src=x onerror=\"document.title='owned'\">";

#[test]
fn files_have_their_types_and_a_policy_that_lets_nothing_else_in() {
    let broker = Broker::start();
    let page = broker.raw("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; script-src 'self';",
        "x-frame-options: DENY",
        "cache-control: no-cache",
    ] {
        assert!(page.contains(header), "{header} in {page}");
    }
    let tag = page.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let again = broker.raw(&format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\nConnection: close\r\n\r\n"
    ));
    assert!(again.starts_with("HTTP/1.1 304"), "{again}");
    assert!(broker.text("/assets/app.js").contains("import "));
    assert_eq!(broker.try_get("/assets/nothing.js").0, 404);
    broker.stop();
}

#[test]
fn it_can_be_switched_off_and_does_not_replace_the_api_s_answers() {
    let broker = Broker::with(|config| config.admin.dashboard = false);
    let (status, problem) = broker.try_get("/");
    assert_eq!((status, problem["code"].as_str()), (404, Some("NOT_FOUND")));
    assert!(problem["message"].as_str().unwrap().contains("admin.dashboard"), "{problem}");
    assert_eq!(broker.try_get("/api/v1/health").0, 200);
    broker.stop();
}

#[test]
fn every_page_shows_what_the_broker_knows_on_a_desk_and_on_a_phone() {
    let Some(mut browser) = Browser::start() else { return };
    let broker = Broker::with(with_websocket);
    let _clients = populate(&broker);
    let pages = [
        ("", "overview", "Clients with most traffic"),
        ("clients", "clients", "kitchen/display"),
        ("clients/kitchen%2Fdisplay", "client", "subscribed to 'home/#'"),
        ("clients/nobody", "client-unknown", "The broker knows nothing of such a client."),
        ("topics", "topics", "4 topics"),
        ("retained", "retained", "home/door"),
        ("subscriptions", "subscriptions", "home/#"),
        ("messages", "messages", "Connect and subscribe to see messages."),
        ("log", "log", "connected from 127.0.0.1"),
        ("bans", "bans", "Nobody is kept out."),
        ("settings", "settings", "limits.queue_messages_max"),
    ];
    for (width, height, is_dark, look) in
        [(1280, 900, false, "light"), (1280, 900, true, "dark"), (390, 844, false, "phone")]
    {
        browser.look(width, height, is_dark);
        for (path, name, text) in pages {
            browser.open(&broker.url(&format!("/#/{path}")));
            browser.wait_for_text(text);
            let theme = if is_dark { "dark" } else { "light" };
            assert_eq!(browser.run("return document.documentElement.dataset.theme"), theme);
            let overflows = browser.run("return document.documentElement.scrollWidth > innerWidth");
            assert_eq!(overflows, false, "{name} is wider than {width}");
            browser.picture(&format!("{name}-{look}"));
            assert_eq!(browser.run("return document.getElementById('banner').hidden"), true);
        }
    }
    // What a hostile client is called is on most of these pages.
    assert_eq!(browser.run("return document.title"), "Settings – Siskin");
    assert_eq!(browser.complaints, [""; 0]);
    broker.stop();
}

#[test]
fn a_client_in_the_page_subscribes_publishes_and_receives() {
    let Some(mut browser) = Browser::start() else { return };
    let broker = Broker::with(with_websocket);
    browser.look(1280, 900, false);
    browser.open(&broker.url("/#/messages"));
    browser.wait_for("document.querySelector('[name=url]').value.startsWith('ws://')");
    press(&mut browser, "Connect");
    browser.wait_for_text("connected to ws://");
    press(&mut browser, "Subscribe");
    browser.wait_for("document.querySelector('.chips').innerText.includes('QoS 1')");
    for (qos, payload) in [("0", "at most once"), ("1", HOSTILE), ("2", "{\"exactly\": \"once\"}")] {
        browser.run(&format!(
            "const form = document.querySelector('.publish'); form.elements.topic.value = 'page/{qos}'; \
             form.elements.qos.value = '{qos}'; form.elements.payload.value = {};",
            serde_json::json!(payload)
        ));
        press(&mut browser, "Publish");
        browser.wait_for_text(&format!("page/{qos}"));
    }
    browser.wait_for_text(HOSTILE);
    browser.wait_for_text("\"exactly\": \"once\"");
    browser.picture("messages-connected");
    // The broker sees a client like any other, and the connection outlives the page that made it.
    browser.run("location.hash = '#/topics'");
    browser.wait_for_text("Live values");
    press(&mut browser, "Live values");
    browser.wait_for_text("Stop live values");
    let mut publisher = broker.client("publisher");
    publisher.publish("plant/press/load", b"17", 1, false);
    browser.wait_for_text("plant");
    for level in ["plant", "press", "load"] {
        browser.run(&format!(
            "[...document.querySelectorAll('.level')].find((b) => b.innerText.includes('{level}')).click()"
        ));
    }
    browser.wait_for_text("A message on 'plant/press/load' is due to 1 session");
    publisher.publish("plant/press/load", b"18", 1, false);
    browser.wait_for("document.querySelector('.detail pre').innerText === '18'");
    browser.picture("topics-live");
    assert_eq!(browser.complaints, [""; 0]);
    broker.stop();
}

#[test]
fn what_an_operator_does_on_a_page_is_done() {
    let Some(mut browser) = Browser::start() else { return };
    let broker = Broker::with(with_websocket);
    let _clients = populate(&broker);
    browser.look(1280, 900, false);
    browser.open(&broker.url("/#/clients/kitchen%2Fdisplay"));
    browser.run("window.confirm = () => true");
    browser.wait_for_text("subscribed to 'home/#'");
    press(&mut browser, "Disconnect");
    browser.wait_for_text("an operator");
    browser.run("location.hash = '#/bans'");
    browser.wait_for_text("Nobody is kept out.");
    browser.run(
        "const form = document.querySelector('form.filters'); form.elements.who.value = 'noisy'; \
         form.elements.reason.value = 'too loud'",
    );
    press(&mut browser, "Ban");
    browser.wait_for_text("too loud");
    assert_eq!(broker.get("/api/v1/bans")["bans"][0]["client_id"], "noisy");
    browser.picture("bans-one");
    press(&mut browser, "Let in");
    browser.wait_for_text("Nobody is kept out.");
    browser.run("location.hash = '#/retained'");
    browser.wait_for_text("home/door");
    press(&mut browser, "Forget all that match");
    browser.wait_for_text("Nothing is retained there.");
    browser.run("location.hash = '#/log'");
    browser.wait_for_text("Messages on their ways");
    press(&mut browser, "Trace");
    browser.wait_for_text("the trace goes on");
    broker.client("another").publish("home/new", b"1", 1, false);
    browser.wait_for_text("a message on 'home/new' from 'another'");
    browser.picture("log-trace");
    assert_eq!(browser.complaints, [""; 0]);
    broker.stop();
}

#[test]
fn where_the_api_asks_for_a_token_so_does_the_page_until_it_is_right() {
    let Some(mut browser) = Browser::start() else { return };
    let broker = Broker::with(|config| config.admin.token = Secret("open sesame".to_owned()));
    browser.look(390, 844, true);
    browser.open(&broker.url("/"));
    for (token, then) in [("wrong", "That was not right"), ("open sesame", "Clients with most traffic")] {
        browser.wait_for("document.getElementById('sign-in').open");
        browser.picture("sign-in");
        browser.run(&format!("document.querySelector('[name=token]').value = '{token}'"));
        press(&mut browser, "Sign in");
        browser.wait_for_text(then);
    }
    press(&mut browser, "Sign out");
    browser.wait_for("document.getElementById('sign-in').open");
    assert_eq!(browser.complaints, [""; 0]);
    broker.stop();
}

#[test]
fn long_lists_and_traces_are_shown_in_part() {
    let Some(mut browser) = Browser::start() else { return };
    let broker = Broker::start();
    browser.look(1280, 900, false);
    let mut subscriber = broker.client("subscriber");
    for n in 0..2_050 {
        subscriber.subscribe(&format!("filter/{n}"), 0);
    }
    browser.open(&broker.url("/#/subscriptions"));
    browser.wait_for("document.querySelectorAll('tbody tr').length === 100");
    press(&mut browser, "Show more");
    browser.wait_for("document.querySelectorAll('tbody tr').length === 200");
    for _ in 0..18 {
        browser.wait_for("!document.body.innerText.includes('first 2,000')");
        press(&mut browser, "Show more");
    }
    browser.wait_for_text("These are the first 2,000");
    assert_eq!(browser.run("return document.querySelectorAll('tbody tr').length"), 2_000);
    // What is typed is asked for when it has been typed.
    browser.run(
        "const input = document.querySelector('[name=filter]'); input.value = 'filter/204'; \
         input.dispatchEvent(new Event('input', { bubbles: true }))",
    );
    browser.wait_for("document.querySelectorAll('tbody tr').length === 11");

    let mut receivers: Vec<_> = (0..220).map(|n| broker.client(&format!("receiver-{n}"))).collect();
    receivers.iter_mut().for_each(|receiver| receiver.subscribe("much/#", 1));
    browser.run("location.hash = '#/log'");
    browser.wait_for_text("No trace yet.");
    browser.run("document.querySelector('[name=count]').value = '1'");
    press(&mut browser, "Trace");
    browser.wait_for_text("the trace goes on");
    broker.client("publisher").publish("much/more", b"1", 1, false);
    browser.wait_for_text("the trace ended");
    browser.wait_for("/and \\d+ more stations/.test(document.body.innerText)");
    assert_eq!(browser.run("return document.querySelectorAll('.story li time').length"), 200);
    // A trace that has ended is not read again and again.
    browser.run(
        "window.asked = { list: 0, one: 0 }; const real = window.fetch; window.fetch = (url, ...rest) => { \
         if (/traces$/.test(url)) asked.list += 1; if (/traces\\/\\d/.test(url)) asked.one += 1; \
         return real(url, ...rest); }",
    );
    browser.wait_for("asked.list >= 2");
    assert_eq!(browser.run("return asked.one"), 0);
    assert_eq!(browser.complaints, [""; 0]);
    broker.stop();
}

#[test]
fn what_a_page_lacks_is_said_and_who_uses_the_keyboard_stays_where_he_is() {
    let Some(mut browser) = Browser::start() else { return };
    let broker = Broker::start();
    browser.look(1280, 900, false);
    browser.open(&broker.url("/#/messages"));
    browser.wait_for_text("The broker has no WebSocket listener: start it with --ws-port 8083.");
    for (address, problem) in
        [("nonsense:", "nonsense"), ("ws://127.0.0.1:1/mqtt", "cannot reach ws://127.0.0.1:1/mqtt")]
    {
        browser.run(&format!("document.querySelector('[name=url]').value = '{address}'"));
        press(&mut browser, "Connect");
        browser.wait_for(&format!("document.querySelector('.error')?.innerText.includes('{problem}')"));
    }
    press(&mut browser, "Disconnect");
    browser.run("document.querySelector('.skip').click()");
    assert_eq!(
        browser.run("return [location.hash, document.activeElement.id]"),
        serde_json::json!(["#/messages", "page"])
    );
    // Rows are drawn anew every few seconds.
    let _clients = [broker.client("one"), broker.client("two")];
    browser.run("location.hash = '#/clients'");
    browser.wait_for("document.querySelectorAll('tbody a').length === 2");
    browser.run("window.before = document.querySelectorAll('tbody a')[1]; before.focus()");
    browser.wait_for("!before.isConnected");
    assert_eq!(
        browser.run("return document.activeElement.getAttribute('href') === before.getAttribute('href')"),
        true
    );
    // The browser itself tells of the address that it could not reach, and of nothing else.
    let complaints: Vec<_> =
        browser.complaints.iter().filter(|complaint| !complaint.contains("127.0.0.1:1")).collect();
    assert_eq!(complaints, [""; 0]);
    broker.stop();
}

#[test]
fn a_page_whose_broker_has_gone_says_so_and_goes_on_when_it_is_back() {
    let Some(mut browser) = Browser::start() else { return };
    let broker = Broker::start();
    let address = broker.admin.address();
    browser.look(1280, 900, false);
    browser.open(&broker.url("/"));
    browser.wait_for_text("Clients with most traffic");
    broker.stop();
    browser.wait_for_text("The broker does not answer.");
    // On a page with a list, too; there it stays.
    browser.run("location.hash = '#/clients'");
    browser.wait_for_text("The broker does not answer.");
    browser.run(
        "window.asked = 0; const real = window.fetch; window.fetch = (...all) => { asked += 1; return real(...all); }",
    );
    browser.wait_for("asked >= 2");
    assert_eq!(browser.run("return document.getElementById('banner').hidden"), false);
    let broker = Broker::with(|config| config.admin.listen = siskin_server::config::AdminListen::At(address));
    browser.wait_for("document.getElementById('banner').hidden");
    assert_eq!(browser.complaints, [""; 0]);
    broker.stop();
}

fn with_websocket(config: &mut siskin_server::Config) {
    let listener = Listener::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    config.listeners.push(Listener { protocol: Protocol::WebSocket(WebSocket::default()), ..listener });
}

/// A broker's everyday, and a client that would like to be more than text.
fn populate(broker: &Broker) -> Vec<Client> {
    let mut display = broker.client("kitchen/display");
    display.subscribe("home/#", 1);
    let mut hostile = broker.client(HOSTILE);
    hostile.subscribe(HOSTILE, 1);
    let mut publisher = broker.client("publisher");
    publisher.publish(HOSTILE, HOSTILE.as_bytes(), 1, true);
    for (topic, payload) in [
        ("home/door", "{\"open\": true}"),
        ("home/kitchen/light", "on"),
        ("home/kitchen/temperature", "21.5"),
    ] {
        publisher.publish(topic, payload.as_bytes(), 1, true);
    }
    let mut away = Client::connect(broker, "away", 2, 3600);
    away.subscribe("home/door", 1);
    drop(away);
    publisher.publish("home/door", b"{\"open\": false}", 1, true);
    vec![display, hostile, publisher]
}

/// Presses the first button that can be seen and says `text`.
fn press(browser: &mut Browser, text: &str) {
    let button = format!(
        "[...document.querySelectorAll('button')].find((b) => b.innerText === '{text}' && b.offsetParent)"
    );
    browser.wait_for(&format!("{button} && !{button}.disabled"));
    browser.act(&format!("{button}.click()"));
}
