//! The pages for people.

use super::TestServer;

const BROWSER: (&str, &str) =
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");

#[tokio::test]
async fn a_browser_gets_a_page_that_runs_nothing_from_elsewhere() {
    let server = TestServer::start().await;
    for target in ["/", "/topics/a", "/events?topic=a/**"] {
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
