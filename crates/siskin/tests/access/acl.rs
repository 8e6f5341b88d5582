//! `siskin acl`.

use crate::{Directory, siskin};

const ACL: &str = "topic read news/#\nuser bob\ntopic readwrite home/+/light\ntopic deny home/attic/light\n\
                   pattern write state/%c\n";

#[test]
fn a_decision_is_a_sentence_with_the_line_and_a_status() {
    let directory = Directory::new("acl-test");
    let file = directory.with("acl", ACL);
    let ask = |question: &[&str]| {
        let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"acl", &"test", &"--file", &file];
        args.extend(question.iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>));
        siskin(&args, "")
    };
    let cases = [
        (
            &["--user", "bob", "--client", "phone", "--publish", "home/hall/light"][..],
            0,
            "user `bob` with client id `phone` may publish to `home/hall/light`: allowed by line 3: topic readwrite home/+/light\n",
        ),
        (
            &["--user", "bob", "--client", "phone", "--read", "home/attic/light"],
            1,
            "user `bob` with client id `phone` may not receive messages of `home/attic/light`: denied by line 4: topic deny home/attic/light\n",
        ),
        (
            &["--client", "phone", "--publish", "state/phone"],
            0,
            "a client without user name with client id `phone` may publish to `state/phone`: allowed by line 5: pattern write state/%c\n",
        ),
        (
            &["--publish", "news/today"],
            1,
            "a client without user name may not publish to `news/today`: denied: no rule matches\n",
        ),
        (
            &["--subscribe", "$share/g/news/+"],
            0,
            "a client without user name may subscribe to `$share/g/news/+`: allowed: an ACL file lets everybody subscribe; each message is checked when it is delivered\n",
        ),
        (
            &["--subscribe", "home/#"],
            0,
            "a client without user name may subscribe to `home/#`: allowed: an ACL file lets everybody subscribe; each message is checked when it is delivered\nbut no message that matches may be delivered to it\n",
        ),
    ];
    for (question, status, sentence) in cases {
        assert_eq!(ask(question), (status, sentence.to_owned(), String::new()), "{question:?}");
    }
    for (question, complaint) in [
        (&["--publish", "a/+"][..], "`a/+` is not a topic name\n"),
        (&["--read", ""], "`` is not a topic name\n"),
        (&["--subscribe", "a/#/b"], "`a/#/b` is not a filter\n"),
    ] {
        assert_eq!(ask(question), (2, String::new(), complaint.to_owned()));
    }
    assert_eq!(ask(&[]).0, 2);
    assert_eq!(ask(&["--publish", "a", "--read", "a"]).0, 2);
}

#[test]
fn a_file_is_checked_with_all_its_mistakes_and_warnings() {
    let directory = Directory::new("acl-check");
    let good = directory.with("good", ACL);
    let name = good.display();
    assert_eq!(
        siskin(&[&"acl", &"check", &"--file", &good], ""),
        (0, format!("{name}: 4 rules, no mistakes\n"), String::new())
    );

    let odd = directory.with("odd", "pattern read a\n");
    let name = odd.display();
    let warned = format!(
        "{name}:1:14: warning: a pattern without %c and %u gives the same right to everybody\n{name}: 1 rule, no mistakes\n"
    );
    assert_eq!(siskin(&[&"acl", &"check", &"--file", &odd], ""), (0, warned, String::new()));

    let bad = directory.with("bad", "topic read a/#/b\n\nuser\n");
    let name = bad.display();
    let mistakes = format!("{name}:1:14: `#` must be the last level\n{name}:3:5: the user name is missing\n");
    assert_eq!(siskin(&[&"acl", &"check", &"--file", &bad], ""), (2, String::new(), mistakes.clone()));
    let test = siskin(&[&"acl", &"test", &"--file", &bad, &"--read", &"a"], "");
    assert_eq!(test, (2, String::new(), mistakes));

    let (status, _, complaint) = siskin(&[&"acl", &"check", &"--file", &directory.file("none")], "");
    assert!(status == 2 && complaint.starts_with("cannot read "), "{complaint}");
}
