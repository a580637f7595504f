//! The pages for people.

use super::TestServer;

const BROWSER: (&str, &str) =
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");

#[tokio::test]
async fn a_browser_gets_a_page_that_runs_nothing_from_elsewhere() {
    let server = TestServer::start().await;
    for target in ["/topics/a", "/events?topic=a/**"] {
        let mut wire = server.get(target, &[BROWSER]).await;
        let head = wire.head().await;
        let body = wire.whole_body(&head).await;
        assert!(head.contains("content-type: text/html; charset=utf-8\n"), "{head}");
        assert!(head.contains("vary: Accept\n"), "{head}");
        let policy =
            head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'nonce-"), "{policy}");
        let nonce = policy.split('\'').nth(3).unwrap().strip_prefix("nonce-").unwrap();
        assert_eq!(body.matches(&format!("<script nonce=\"{nonce}\">")).count(), 1);
        assert_eq!(body.matches(&format!("<style nonce=\"{nonce}\">")).count(), 1);
        assert_eq!(body.matches("<script").count() + body.matches("<style").count(), 2);
        // The policy would refuse them: attributes that hold scripts or styles.
        assert!(!body.contains(" style=\"") && !body.contains(" onclick=\""));
        assert!(!body.contains("innerHTML") && !body.contains("{{"), "{target}");
        let again = server.get(target, &[BROWSER]).await.head().await;
        assert!(!again.contains(nonce), "a nonce is used once");
    }
}

#[tokio::test]
async fn who_is_no_browser_is_told_where_to_go() {
    let server = TestServer::start().await;
    let index = server.page("/").await;
    assert_eq!((&index["name"], &index["topics"]), (&"longwave".into(), &"/topics".into()));
    let head = server.get("/", &[("accept", "image/png")]).await.head().await;
    assert!(head.starts_with("HTTP/1.1 406 "), "{head}");
}

#[tokio::test]
async fn a_browser_gets_the_console_or_why_there_is_none() {
    let server = TestServer::start().await;
    let mut wire = server.get("/", &[BROWSER]).await;
    let head = wire.head().await;
    let body = wire.whole_body(&head).await;
    assert!(head.contains("content-type: text/html; charset=utf-8\n"), "{head}");
    assert!(!head.contains("unsafe-"), "{head}");
    let Ok(console) = longwave_console::console() else {
        assert!(body.contains("This server was built without its console: "), "{body}");
        assert!(!body.contains("{{"), "{body}");
        let head = server.get("/console/topics", &[BROWSER]).await.head().await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
        return;
    };
    assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self';"));
    assert!(head.contains("cache-control: no-cache\n"), "{head}");
    assert_eq!(body.as_bytes(), console.file("index.html").unwrap().plain);
    // The policy would refuse what is not in a file of its own.
    assert!(!body.contains("<style") && !body.contains(" style=") && !body.contains("<script>"));
    let mut wire = server.get("/console/topics", &[]).await;
    let head = wire.head().await;
    assert_eq!(wire.whole_body(&head).await, body);

    for file in console.files.iter().filter(|file| file.path.starts_with("assets/")) {
        assert!(body.contains(&format!("\"/console/{}\"", file.path)), "{}", file.path);
        let mut wire = server.get(&format!("/console/{}", file.path), &[]).await;
        let head = wire.head().await;
        assert!(head.contains(&format!("content-type: {}\n", file.media_type)), "{head}");
        assert!(head.contains("cache-control: public, max-age=31536000, immutable\n"), "{head}");
        assert!(head.contains("vary: Accept, Accept-Encoding\n"), "{head}");
        assert_eq!(wire.whole_body(&head).await.as_bytes(), file.plain);
        let gzip = [("accept-encoding", "gzip, br")];
        let head = server.get(&format!("/console/{}", file.path), &gzip).await.head().await;
        assert!(head.contains("content-encoding: gzip\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\n", file.gzip.len())), "{head}");
    }
    for target in ["/console/assets/gone-1234.js", "/console/assets/../index.html"] {
        let head = server.get(target, &[]).await.head().await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    }
}
