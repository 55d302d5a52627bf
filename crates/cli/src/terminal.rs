//! The terminal of a session (raw mode, window size, detaching).
