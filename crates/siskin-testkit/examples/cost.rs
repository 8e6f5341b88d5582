//! Does one of the things that a broker does all day, as often as wished, and nothing else.
//!
//! ```sh
//! cargo run --release -p siskin-testkit --example cost             # says what there is, and how much a round is
//! valgrind --tool=callgrind target/release/examples/cost pair-0 100  # a hundred rounds
//! ```
//!
//! `bench/instructions` runs all of them and takes the difference between two numbers of rounds.

#![allow(clippy::print_stdout, clippy::print_stderr)] // It speaks to a script.

use std::process::ExitCode;

use siskin_testkit::cost::CASES;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() {
        for case in CASES {
            println!("{}\t{}\t{}", case.name, case.per_round, case.about);
        }
        return ExitCode::SUCCESS;
    }
    let case = arguments.first().and_then(|name| CASES.iter().find(|case| case.name == name));
    let rounds = arguments.get(1).and_then(|rounds| rounds.parse::<u32>().ok());
    let (Some(case), Some(rounds)) = (case, rounds) else {
        eprintln!("usage: cost [CASE ROUNDS]; without arguments it lists the cases");
        return ExitCode::from(2);
    };
    let mut round = (case.prepare)();
    (0..rounds).for_each(|_| round());
    ExitCode::SUCCESS
}
