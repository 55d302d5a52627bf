//! git's answer with a warning put in, for the client to show as `remote: …`.
//!
//! Invariant: nothing of the answer is changed; where it has no place for a warning, it goes without.

use bottle_policy::git::pkt::{self, Length};
use std::{io, process::Stdio};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Runs git between the two ends of a connection.
pub(crate) async fn with_warning(
    mut command: std::process::Command,
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    warning: &str,
) -> io::Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { return Ok(()) };
    let (mut from_client, mut to_client) = tokio::io::split(stream);
    let asks = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut input).await;
    });
    let told = insert(output, &mut to_client, warning).await;
    let _ = to_client.shutdown().await;
    asks.abort();
    child.wait().await?;
    told
}

/// Copies pkt-lines; before the first that is of a sideband, the warning goes on the second band.
pub(crate) async fn insert(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    warning: &str,
) -> io::Result<()> {
    let mut header = [0; 4];
    loop {
        match from.read_exact(&mut header).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        };
        let length = match pkt::length(header) {
            Ok(Length::Special(_)) => {
                to.write_all(&header).await?;
                continue;
            }
            Ok(Length::Data(length)) => length,
            // A pack as it is: this client asked for no bands.
            Err(_) => {
                to.write_all(&header).await?;
                break;
            }
        };
        let mut line = vec![0; length];
        from.read_exact(&mut line).await?;
        let is_band = matches!(line.first(), Some(1 | 2));
        if is_band {
            to.write_all(&pkt::line(&[b"\x02", warning.as_bytes(), b"\n"].concat())).await?;
        }
        to.write_all(&header).await?;
        to.write_all(&line).await?;
        if is_band {
            break;
        }
    }
    tokio::io::copy(&mut from, to).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_warning_stands_before_the_first_band() {
        let line = |bytes: &[u8]| pkt::line(bytes);
        let answer = [line(b"packfile\n"), line(b"\x01PACK"), b"0000".to_vec()].concat();
        let mut told = Vec::new();
        insert(&answer[..], &mut told, "old").await.unwrap();
        assert_eq!(told, [line(b"packfile\n"), line(b"\x02old\n"), line(b"\x01PACK"), b"0000".to_vec()].concat());
        let plain = [line(b"NAK\n"), b"PACK\x01\x02".to_vec()].concat();
        let mut told = Vec::new();
        insert(&plain[..], &mut told, "old").await.unwrap();
        assert_eq!(told, plain);
    }
}
