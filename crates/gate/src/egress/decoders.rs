//! The memory of all decoders together. What one stream may make its decoder remember is bounded by its coding, up to
//! 16 MiB; a hostile peer opens many.
//!
//! Invariant: a decoder exists only with a [`Claim`] to all that it may come to use, and the claims never exceed
//! [`MAX_DECODERS`]. Who finds nothing left waits for a moment and is then refused; nobody else notices.

use super::decode::Coding;
use crate::limits::{DECODER_TIME, MAX_DECODERS};
use bottle_spec::verdict::Reason;
use std::sync::Arc;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// In KiB. What inflating takes, with its window of 32.
const INFLATE: u32 = 64;
/// Window (RFC 7932, section 9.1), and what its tables take at the most.
const BROTLI: u32 = (16 << 10) + BROTLI_TABLES;
const BROTLI_TABLES: u32 = 2 << 10;
/// The window that RFC 9659 allows, a block, and tables.
const ZSTD: u32 = (8 << 10) + 512;

/// One budget, in KiB. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Decoders(Arc<Semaphore>);

impl Default for Decoders {
    fn default() -> Decoders {
        Decoders(Arc::new(Semaphore::new(MAX_DECODERS >> 10)))
    }
}

impl Decoders {
    /// Memory for a decoder of this coding, whatever it will be fed.
    pub(crate) async fn claim(&self, coding: Coding) -> Result<Claim, Reason> {
        let most = match coding {
            Coding::Identity => 0,
            Coding::Gzip | Coding::Deflate => INFLATE,
            Coding::Brotli => BROTLI,
            Coding::Zstd => ZSTD,
        };
        if let Ok(permit) = Arc::clone(&self.0).try_acquire_many_owned(most) {
            return Ok(Claim(permit));
        }
        // An error of the semaphore means that it is closed, which it never is.
        match timeout(DECODER_TIME, Arc::clone(&self.0).acquire_many_owned(most)).await {
            Ok(Ok(permit)) => Ok(Claim(permit)),
            Ok(Err(_)) | Err(_) => Err(Reason::LimitExceeded),
        }
    }
}

/// One decoder's share.
#[derive(Debug)]
pub(crate) struct Claim(OwnedSemaphorePermit);

impl Claim {
    /// Gives back what the first byte of a Brotli stream says is not needed.
    pub(crate) fn settle(&mut self, first: u8) {
        let needed = brotli_window(first).saturating_add(BROTLI_TABLES) as usize;
        drop(self.0.split(self.0.num_permits().saturating_sub(needed)));
    }
}

/// In KiB, by WBITS (RFC 7932, section 9.1).
fn brotli_window(first: u8) -> u32 {
    let bits = match (first & 1, first >> 1 & 7, first >> 4 & 7) {
        (0, ..) => 16,
        (_, 0, 0) => 17,
        // What larger windows announce themselves by, which are not decoded.
        (_, 0, 1) => 24,
        (_, 0, few) => 8 + u32::from(few),
        (_, many, _) => 17 + u32::from(many),
    };
    (1 << bits >> 10).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_what_its_first_byte_says() {
        for (first, bits) in
            [(0x00, 16), (0x01, 17), (0x21, 10), (0x71, 15), (0x03, 18), (0x0b, 22), (0x0f, 24), (0x11, 24)]
        {
            assert_eq!(brotli_window(first), 1 << bits >> 10, "{first:#x}");
        }
        // Both ways, the rest of the byte is other things.
        assert_eq!((brotli_window(0xfe), brotli_window(0xff)), (64, 16 << 10));
    }

    #[test]
    fn claims_are_bounded_together_and_come_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let decoders = Decoders::default();
            let mut held = Vec::new();
            while let Ok(claim) = decoders.claim(Coding::Brotli).await {
                held.push(claim);
            }
            assert_eq!(held.len(), (MAX_DECODERS >> 10) / BROTLI as usize);
            let (refused, gzip) = (decoders.claim(Coding::Zstd).await, decoders.claim(Coding::Gzip).await);
            assert!(matches!(refused, Err(Reason::LimitExceeded)) && gzip.is_ok(), "{refused:?} {gzip:?}");
            // 4 MiB, as servers use.
            held.iter_mut().for_each(|claim| claim.settle(0x0b));
            assert!(decoders.claim(Coding::Brotli).await.is_ok());
            drop((held, gzip));
            assert_eq!(decoders.0.available_permits(), MAX_DECODERS >> 10);
        });
    }
}
