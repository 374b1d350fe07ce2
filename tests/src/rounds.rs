//! Tests that count every event, on kernels that do not run every hook. Some virtual machines do not,
//! for whole bursts, and nobody's: what was never told is no fault of keepwatch, and no test can know
//! beforehand. So such a test has three rounds, says so, and one of them must be exact.

const N_ROUNDS: u32 = 3;

/// How a round ended that held in everything else.
#[derive(Debug)]
pub enum Round {
    /// Everything that the kernel counted was told.
    Exact,
    /// Less than the kernel counted, in words.
    Short(String),
}

/// Runs rounds until one is exact.
#[track_caller]
pub fn one_is_exact(mut round: impl FnMut() -> Round) {
    let mut short = Vec::new();
    for n in 1..=N_ROUNDS {
        match round() {
            Round::Exact => return,
            Round::Short(how) => {
                eprintln!("round {n} of {N_ROUNDS}: hooks were not run: {how}");
                short.push(how);
            }
        }
    }
    panic!("in no round every hook was run: {short:?}");
}
