//! Waiting for something to become true, with an end. Tests never sleep for a guessed time.

use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(5);

/// Asks `condition` until it gives a value; panics with `what` after `timeout`.
#[track_caller]
pub fn wait_for<T>(what: &str, timeout: Duration, condition: impl FnMut() -> Option<T>) -> T {
    comes_within(timeout, condition).unwrap_or_else(|| panic!("waited {timeout:?} in vain for {what}"))
}

/// Asks `condition` until it gives a value; `None` after `timeout`.
pub fn comes_within<T>(timeout: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        let value = condition();
        if value.is_some() || Instant::now() >= deadline {
            return value;
        }
        std::thread::sleep(STEP);
    }
}

/// [`wait_for`] for a plain truth.
#[track_caller]
pub fn wait_until(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, timeout, || condition().then_some(()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_asked_until_it_holds() {
        let mut asked = 0;
        wait_until("the third time", Duration::from_secs(5), || {
            asked += 1;
            asked == 3
        });
        assert_eq!(asked, 3);
    }

    #[test]
    #[should_panic(expected = "in vain for pigs to fly")]
    fn waiting_ends() {
        wait_until("pigs to fly", Duration::from_millis(20), || false);
    }
}
