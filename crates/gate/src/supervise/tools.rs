//! The tools, as MCP: what each is called with and what it says.
//!
//! Invariant: a call ends within [`MAX_WAIT`] and changes nothing but the list of requests.

use super::{
    ask,
    desk::{Desk, Known},
    words,
};
use bottle_spec::operator::Requested;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
        PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
    },
    service::RequestContext,
};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, interval, sleep_until};

/// Seconds that a wait takes where it does not say.
const WAIT: u64 = 50;
const MAX_WAIT: u64 = 300;
/// Between two notices that it still waits.
const PROGRESS: Duration = Duration::from_secs(5);
const INSTRUCTIONS: &str = "Everything that leaves this bottle goes by its policy. When something is refused, the answer \
     names a tool of this server and its arguments: call it with a reason, then call wait_for_decision with the id. A \
     person decides, so ask for little and say why.";

#[derive(Debug, Clone)]
pub(super) struct Tools {
    desk: Arc<Desk>,
}

impl Tools {
    pub(super) fn new(desk: Arc<Desk>) -> Tools {
        Tools { desk }
    }

    async fn call(&self, tool: &str, arguments: Map<String, Value>, context: &RequestContext<RoleServer>) -> Told {
        if let Some(requested) = ask::requested(tool, arguments.clone()) {
            let requested = requested.map_err(Refused::Arguments)?;
            self.known_secret(&requested)?;
            let known = self.desk.ask(requested).await.map_err(|error| Refused::Said(error.to_string()))?;
            return Ok(words::status(&known, &self.desk.secrets));
        }
        match tool {
            "policy" => Ok(words::policy(&self.desk)),
            "request_status" => self.status(&arguments),
            "wait_for_decision" => self.wait(&arguments, context).await,
            _ => Err(Refused::NoTool),
        }
    }

    /// Nobody can say yes to a secret that the bottle has not: that is told at once.
    fn known_secret(&self, requested: &Requested) -> Result<(), Refused> {
        let Requested::SecretRoute(asked) = requested else { return Ok(()) };
        if self.desk.secrets.iter().any(|secret| secret.placeholder == asked.secret) {
            return Ok(());
        }
        Err(Refused::Arguments("`secret` is none of this bottle's placeholders; `policy` lists them".to_owned()))
    }

    fn status(&self, arguments: &Map<String, Value>) -> Told {
        if arguments.contains_key("id") {
            return Ok(words::status(&self.find(arguments)?, &self.desk.secrets));
        }
        let all: Vec<_> = self.desk.all().iter().map(|known| words::status(known, &self.desk.secrets)).collect();
        let text = all.iter().map(|(text, _)| format!("{text}\n")).collect();
        Ok((text, json!({ "requests": all.into_iter().map(|(_, value)| value).collect::<Vec<_>>() })))
    }

    /// Tells that it still waits, where the client wants to hear of it.
    async fn wait(&self, arguments: &Map<String, Value>, context: &RequestContext<RoleServer>) -> Told {
        let known = self.find(arguments)?;
        let id = known.request.id;
        let seconds = match arguments.get("seconds") {
            None => WAIT,
            Some(seconds) => seconds.as_u64().ok_or_else(|| Refused::Arguments("`seconds` is a number".to_owned()))?,
        };
        let begun = Instant::now();
        let until = begun + Duration::from_secs(seconds.min(MAX_WAIT));
        let token = context.meta.get_progress_token();
        let mut ticks = interval(PROGRESS);
        let known = loop {
            tokio::select! {
                known = self.desk.answer(&id) => break known,
                () = sleep_until(until) => break self.desk.find(&id),
                () = context.ct.cancelled() => break None,
                _ = ticks.tick() => {
                    if let Some(token) = token.clone() {
                        let waited = begun.elapsed().as_secs_f64();
                        let notice = ProgressNotificationParam::new(token, waited)
                            .with_message(format!("{id} waits for the operator"));
                        // A client that is gone cancels the call.
                        let _ = context.peer.notify_progress(notice).await;
                    }
                }
            }
        };
        known.map(|known| words::status(&known, &self.desk.secrets)).ok_or_else(|| unknown(&id))
    }

    fn find(&self, arguments: &Map<String, Value>) -> Result<Known, Refused> {
        let id = arguments.get("id").and_then(Value::as_str).ok_or_else(|| {
            Refused::Arguments("`id` is the id of a request, as the tool that made it told".to_owned())
        })?;
        self.desk.find(id).ok_or_else(|| unknown(id))
    }
}

/// Words and JSON.
type Told = Result<(String, Value), Refused>;

#[derive(Debug)]
enum Refused {
    NoTool,
    Arguments(String),
    Said(String),
}

fn unknown(id: &str) -> Refused {
    let id: String = id.chars().take(32).collect();
    Refused::Said(format!("there is no request {id:?}; request_status lists those there are"))
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("bot-bottle", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let told = self.call(&request.name, request.arguments.unwrap_or_default(), &context).await;
        let result = match told {
            Ok((text, value)) => {
                let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
                result.structured_content = Some(value);
                result
            }
            // Said as a result, so that the model reads it and corrects itself.
            Err(Refused::Arguments(why) | Refused::Said(why)) => CallToolResult::error(vec![ContentBlock::text(why)]),
            Err(Refused::NoTool) => return Err(ErrorData::invalid_params("there is no such tool", None)),
        };
        Ok(result.into())
    }
}

fn tools() -> Vec<Tool> {
    let text = |about: &str| json!({ "type": "string", "description": about });
    let texts = |about: &str| json!({ "type": "array", "items": { "type": "string" }, "description": about });
    let number = |about: &str| json!({ "type": "integer", "minimum": 1, "description": about });
    let reason = text("why, in a sentence or two that a person reads");
    let methods = texts("as GET; left out, every method");
    let paths = texts("as /repos/acme/app/issues, /v1/* or /v1/**; left out, every path");
    let minutes = number("for so long; left out, as long as the bottle runs");
    vec![
        tool(
            "policy",
            "What this bottle may do: hosts, methods, paths, repositories, and the names of its secrets.",
            &json!({}),
            &[],
        )
        .with_annotations(ToolAnnotations::new().read_only(true)),
        tool(
            "request_egress",
            "Ask the operator for leave to send requests to a host.",
            &json!({
                "host": text("as api.example.com, or *.example.com for every name below it"),
                "port": number("443 where it is left out"),
                "methods": methods,
                "paths": paths,
                "reason": reason,
                "minutes": minutes,
                "once": { "type": "boolean", "description": "for one request alone" },
            }),
            &["host", "reason"],
        ),
        tool(
            "request_git",
            "Ask the operator for leave to push to more refs of a repository that this bottle has.",
            &json!({
                "repository": text("its name at $GIT_GATE_URL"),
                "refs": texts("as refs/heads/agent/fix or refs/heads/agent/*"),
                "reason": reason,
            }),
            &["repository", "refs", "reason"],
        ),
        tool(
            "request_secret_route",
            "Ask the operator to have one of this bottle's secrets put on requests to another host.",
            &json!({
                "host": text("one host name"),
                "secret": text("the secret's placeholder, as `policy` lists them"),
                "methods": methods,
                "paths": paths,
                "reason": reason,
                "minutes": minutes,
            }),
            &["host", "secret", "reason"],
        ),
        tool(
            "ask_operator",
            "Ask the operator a question.",
            &json!({ "question": text("the question"), "choices": texts("what they choose from; left out, they write") }),
            &["question"],
        ),
        tool("request_status", "What became of a request, or of all.", &json!({ "id": text("of one request") }), &[])
            .with_annotations(ToolAnnotations::new().read_only(true)),
        tool(
            "wait_for_decision",
            "Wait until the operator has answered a request, and learn the answer. Call it again while it is pending.",
            &json!({
                "id": text("of the request"),
                "seconds": number("how long to wait at most; 50 where it is left out, never more than 300"),
            }),
            &["id"],
        )
        .with_annotations(ToolAnnotations::new().read_only(true)),
    ]
}

fn tool(name: &'static str, about: &'static str, properties: &Value, required: &[&str]) -> Tool {
    let schema = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    });
    let schema = match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    Tool::new(name, about, Arc::new(schema))
}
