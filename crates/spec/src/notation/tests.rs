//! What each notation takes, and what it refuses.

use super::*;

fn takes<T: FromStr>(good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(text.parse::<T>().is_ok(), "{text:?} was refused");
    }
    for text in bad {
        assert!(text.parse::<T>().is_err(), "{text:?} was taken");
    }
}

#[test]
fn numbers_have_their_units_and_bounds() {
    assert_eq!("4GiB".parse(), Ok(Size(4 << 30)));
    assert_eq!("10GB".parse(), Ok(Size(10_000_000_000)));
    takes::<Size>(&["1KiB", "512 MiB"], &["", "4", "4G", "4gib", "-1GiB", "1.5GiB", "0GiB", "99999999999TiB", "GiB"]);
    assert_eq!("0.5".parse(), Ok(CpuMillis(500)));
    assert_eq!("1.25".parse(), Ok(CpuMillis(1250)));
    takes::<CpuMillis>(&["2", "0.001"], &["", "0", "0.0", "-1", "1.", ".5", "1e3", "2000", "0.0001", "two"]);
    takes::<Port>(&["1", "65535"], &["0", "65536", "-1", "+80", "080", " 80", ""]);
    takes::<Pids>(&["1", "512"], &["0", "-5", "many", "4194305"]);
}

#[test]
fn hosts_methods_and_paths() {
    takes::<HostAndPort>(
        &["a.test", "*.a.test", "a.test:8443", "bücher.example:1"],
        &["", ":80", "a.test:", "a.test:0", "1.2.3.4", "1.2.3.4:80", "::1", "[::1]:80", "a b", "a.*", "http://a.test"],
    );
    assert_eq!("get".parse(), Ok(Method("GET".to_owned())));
    takes::<Method>(&["PATCH", "M-SEARCH"], &["", "CONNECT", "connect", "GE T", "GET,POST", "GET\r\n"]);
    takes::<PathPattern>(
        &["/", "/a/b", "/a/", "/a/*.json", "/**", "/a/**/b", "/a%20b", "/@s%2fn"],
        &["", "a", "/a?x", "/a#b", "/a b", "/a//b", "/../a", "/a/./b", "/a**", "/%zz", "/%2", "/a\\b", "/a\n"],
    );
}

#[test]
fn names_images_and_mounts() {
    takes::<Name>(&["a", "reviewer-2", "A_b"], &["", "-a", "a/b", "..", "a.b", "ä", "a b", &"x".repeat(64)]);
    takes::<Variable>(&["A", "_a1"], &["", "1A", "A-B", "A=B", "Ä"]);
    takes::<Image>(
        &["host", "debian", "debian:13", "ghcr.io/a/b@sha256:00", "localhost:5000/a", "dockerfile:./D", "dir:/x"],
        &["", "-v", "--privileged", "dir:", "host:x y", "../x", "a b", "dockerfile:", "https://x", "a$(b)"],
    );
    let mount: MountText = "~/data:/data:rw".parse().unwrap();
    assert_eq!((mount.target.as_path(), mount.writable), (Path::new("/data"), true));
    takes::<MountText>(
        &["/a:/b", "./a:/home/agent/.cache", "~/x:/opt/x:ro"],
        &[
            "",
            "/a",
            "/a:",
            ":/b",
            "/a:b",
            "/a:/b/../c",
            "/a:/",
            "/a:/proc/1",
            "/a:/etc",
            "/a:/b:rx",
            "/a:/b//c",
            "/a:/b/.",
        ],
    );
}

#[test]
fn addresses_proxies_and_carriers() {
    takes::<Address>(&["127.0.0.1:9443", "[::1]:1"], &["", "127.0.0.1", "a.test:80", "127.0.0.1:0", "::1:80"]);
    takes::<ProxyUrl>(
        &["http://proxy.corp:3128", "http://10.0.0.1:80/", "http://[fd00::1]:8080"],
        &["", "proxy:3128", "https://proxy:1", "http://proxy", "http://u:p@proxy:1", "http://proxy:1/x", "http://p:0"],
    );
    assert_eq!("header.X-Api-Key".parse(), Ok(Carrier::Header("x-api-key".to_owned())));
    takes::<Carrier>(
        &["bearer", "basic", "query.api_key"],
        &["", "Bearer", "header.", "header", "header.host", "header.a b", "header.a\r\nb", "query.", "query.a=b"],
    );
}
