//! The HTTP API against its own description: what the document promises is what is answered.

use crate::support::wire::User;
use crate::support::{self, Running};
use rookery_node::admin::Credentials;
use std::path::Path;
use std::process::Command;

/// What every answer must keep, whatever the request.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
     response_headers_conformance,response_schema_conformance";

#[tokio::test]
async fn the_document_is_served_and_names_who_may_call_what() {
    let running = Running::start().await;
    let document = running.get("/v1/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let mut operations = 0;
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            operations += 1;
            let open =
                ["/v1/signup", "/v1/login", "/v1/refresh", "/v1/token"].contains(&path.as_str());
            assert_eq!(operation["security"].is_null(), open, "{method} {path}");
            assert!(operation["responses"]["default"].is_object(), "{method} {path}");
        }
    }
    assert!(operations >= 17, "{operations}");
}

/// Has the tool send what a document allows, and much else; it must find nothing.
///
/// The tool is named by the variable `SCHEMATHESIS`; `.ci/run` installs it.
async fn generated(document: String, token: &str, scratch: &Path, which: &[&str]) {
    let Some(tool) = std::env::var_os("SCHEMATHESIS") else {
        println!("SKIPPED: SCHEMATHESIS does not name the tool");
        return;
    };
    let header = format!("Authorization: Bearer {token}");
    let mut command = Command::new(&tool);
    command
        .current_dir(scratch)
        .args(["run", &document, "--header", &header, "--checks", CHECKS])
        .args(which)
        .args(["--max-examples", "40", "--seed", "1", "--no-color"]);
    let run = move || command.output();
    let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_requests_find_no_fault_of_the_node_and_no_answer_unlike_its_description() {
    let running = Running::start_with(|config| {
        config.search.enabled = true;
        config.limits.searches.per_hour = 0;
    })
    .await;
    let user = User::sign_up(&running, "ada").await;
    let document = format!("http://{}/v1/openapi.json", running.node.http_addr());
    // Last what ends devices: the tool finds the caller's own in the list.
    for which in ["--exclude-method", "--include-method"] {
        let scratch = running.dir.path();
        generated(document.clone(), &user.token, scratch, &[which, "DELETE"]).await;
    }
    assert_eq!(running.get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_requests_find_no_fault_of_the_operators_api() {
    let running = Running::start().await;
    User::sign_up(&running, "ada").await;
    let credentials = Credentials::new(running.node.state().config.admin_tokens());
    let token = credentials.add("ops").unwrap();
    let address = running.node.admin_addr().unwrap();
    let document = format!("http://{address}/admin/v1/openapi.json");
    let answer = support::send(
        address,
        "GET /admin/v1/openapi.json HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n",
    );
    let paths = answer.await.json()["paths"].as_object().unwrap().len();
    assert!(paths >= 13, "{paths}");
    generated(document, &token, running.dir.path(), &[]).await;
    assert_eq!(running.get("/healthz").await.status, 200);
}
