//! `/api/v1/openapi.json`: the description of all this, made of the types that are served.
//!
//! The same text is a file of the repository, of which the web application's types are made (decision 46); a test holds it
//! against the code.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::audit::Event;
use crate::drive::FoundKind;
use crate::http::Route;
use crate::live::ActivityKind;
use crate::options::MetricsAccess;
use crate::rest::parse::Numeral;
use crate::rest::upload::OnConflict;
use crate::rest::{
    account, accounts, activity, archive, audit, devices, events, files, folders, form, health, known, repeat, search,
    second_factor, server, session, setup, shares, statistics, thumbnails, tickets, tokens, trash, tus, versions,
};
use crate::rest::{chains, digest, export, jobs, retention, snapshots};
use crate::service::Service;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Delta Backup",
        description = "The drive of an account, and who gets in. Paths are names with / between them, each \
                       percent-encoded. Pages in browsers log in by POST to /api/v1/session and say the token of the \
                       answer as X-CSRF-Token with whatever changes something.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        session::look,
        session::log_in,
        session::log_out,
        session::list,
        session::end_others,
        session::end,
        setup::set_up,
        account::me,
        account::set_password,
        second_factor::begin,
        second_factor::confirm,
        second_factor::remove,
        tokens::list,
        tokens::make,
        tokens::revoke,
        devices::list,
        devices::revoke,
        devices::invite,
        accounts::list,
        accounts::add,
        accounts::change,
        accounts::make_setup_link,
        accounts::remove_second_factor,
        audit::list,
        events::listen,
        activity::list,
        statistics::look,
        health::look,
        server::look,
        server::confirm_waiting,
        files::get,
        files::put,
        files::delete,
        form::post,
        known::ask,
        known::place,
        search::find,
        archive::get,
        archive::post,
        folders::stat,
        folders::list,
        folders::make,
        folders::move_to,
        folders::copy,
        versions::list,
        versions::restore,
        trash::list,
        trash::restore,
        trash::purge,
        shares::list,
        shares::look,
        shares::make,
        shares::revoke,
        tickets::make,
        thumbnails::show,
        thumbnails::show_of_snapshot,
        chains::list,
        chains::follow,
        retention::look_at_default,
        retention::set_default,
        retention::look,
        retention::set,
        retention::simulate,
        retention::confirm_change,
        snapshots::list,
        snapshots::look,
        snapshots::keep::forget,
        snapshots::keep::undelete,
        snapshots::keep::hold,
        snapshots::keep::unhold,
        snapshots::browse::entries,
        snapshots::browse::download,
        snapshots::browse::pack,
        snapshots::browse::pack_these,
        snapshots::browse::search,
        snapshots::find::find,
        snapshots::compare::diff,
        digest::of_drive,
        digest::of_snapshot,
        jobs::list,
        jobs::start,
        jobs::cancel,
        tus::terms,
        tus::list,
        tus::create,
        tus::head,
        tus::patch,
        tus::delete,
        tus::post,
    ),
    // Said in addresses and events only, which do not bring their types along.
    components(schemas(Event, FoundKind, OnConflict, ActivityKind, Numeral, statistics::Span, export::ListFormat, events::Hello)),
    security(("password" = []), ("token" = []), ("session" = [])),
    modifiers(&Logins)
)]
struct Document;

/// How one logs in.
struct Logins;

impl Modify for Logins {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        for (name, scheme) in [("password", HttpAuthScheme::Basic), ("token", HttpAuthScheme::Bearer)] {
            components.add_security_scheme(name, SecurityScheme::Http(Http::new(scheme)));
        }
        let cookie = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("__Host-bk")));
        components.add_security_scheme("session", cookie);
    }
}

pub(crate) async fn document(State(service): State<Arc<Service>>) -> Response {
    let mut document = described();
    let base = service.home.settings.base_path.as_str();
    if !base.is_empty() {
        document["servers"] = json!([{ "url": base }]);
    }
    super::json(StatusCode::OK, &document)
}

/// The document, with what the macros cannot know.
fn described() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).expect("a plain structure");
    for (path, operations) in object(&mut document["paths"]) {
        for (method, operation) in object(operations) {
            operation["operationId"] = operation_id(method, path).into();
            describe_key(method, path, operation);
        }
    }
    let schemas = object(&mut document["components"]["schemas"]);
    let named = schemas.clone();
    for schema in schemas.values_mut() {
        name_items(schema, &named);
        // What knows all its fields is the body of a request.
        if schema["additionalProperties"] != json!(false) {
            require_nullable(schema);
        }
    }
    document
}

/// Requests whose answers are kept beside take a key whatever their handlers say.
fn describe_key(method: &str, path: &str, operation: &mut Value) {
    let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else { return };
    let route = Route::ALL.into_iter().find(|route| route.path().replace("{*", "{") == path);
    let action = route.and_then(|route| route.action(&method, MetricsAccess::Off));
    if action.is_some_and(repeat::is_kept) {
        let parameters = object(operation).entry("parameters").or_insert_with(|| json!([]));
        parameters.as_array_mut().expect("OpenAPI says so").push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "description": "1 to 128 bytes: asked again under the same key, it is not done again, and the answer is the same",
            "required": false,
            "schema": { "type": ["string", "null"] },
        }));
    }
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    value.as_object_mut().expect("OpenAPI says so")
}

/// Functions of several modules have the same name; methods and paths are there once.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.trim_start_matches("/api/v1").split(|letter: char| !letter.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).fold(method.to_owned(), |id, word| format!("{id}_{word}"))
}

/// Says the name of what is on a page: the macro writes out what stands for a letter.
fn name_items(page: &mut Value, named: &Map<String, Value>) {
    let Some(items) = page.pointer_mut("/properties/items/items") else { return };
    if let Some((name, _)) = named.iter().find(|(_, schema)| *schema == items) {
        *items = json!({ "$ref": format!("#/components/schemas/{name}") });
    }
}

/// A field of an answer that may be null is there all the same: what may be left out is never null.
fn require_nullable(schema: &mut Value) {
    for several in ["allOf", "oneOf"] {
        let parts = schema.get_mut(several).and_then(Value::as_array_mut);
        parts.into_iter().flatten().for_each(require_nullable);
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let may_be_null = |field: &Value| {
        let alone = field["type"].as_array().is_some_and(|types| types.contains(&json!("null")));
        alone || field["oneOf"].as_array().is_some_and(|types| types.contains(&json!({ "type": "null" })))
    };
    let fields = properties.iter().filter(|(_, field)| may_be_null(field));
    let nullable: Vec<Value> = fields.map(|(name, _)| json!(name)).collect();
    if !nullable.is_empty() {
        let required = object(schema).entry("required").or_insert_with(|| json!([]));
        required.as_array_mut().expect("OpenAPI says so").extend(nullable);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The web application's types are made of the file: what one of the two says, the other does.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a file of the repository, when somebody asks for it")]
    fn the_file_in_the_repository_says_the_same() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web-ui/web/openapi.json");
        let text = format!("{:#}\n", described());
        if std::env::var_os("BACKUP_WRITE_OPENAPI").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "web/openapi.json is of other code: run `cargo xtask openapi`, and look at what changed");
    }

    /// Two types of one name would be one in the document, and nobody would be told.
    #[test]
    fn every_type_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let mut lines = text.lines();
            while lines.any(|line| line.starts_with("#[derive(") && line.contains("ToSchema")) {
                let declared = lines.find(|line| line.contains("struct ") || line.contains("enum "));
                let mut words = declared.unwrap().split([' ', '<', '(', ';']);
                let name = words.find(|word| matches!(*word, "struct" | "enum")).and(words.next()).unwrap();
                assert!(names.insert(name.to_owned()), "{}: another type is called {name}", path.display());
            }
        }
        assert!(names.contains("SnapshotItem") && names.contains("Numeral") && names.contains("AccountRole"));
    }

    #[test]
    fn what_may_be_null_and_what_may_be_left_out_are_told_apart() {
        let document = described();
        let is_required = |pointer: &str, field: &str| {
            let required = document.pointer(&format!("/components/schemas/{pointer}/required"));
            required.and_then(Value::as_array).is_some_and(|required| required.contains(&json!(field)))
        };
        // An answer: null, but there.
        assert!(is_required("SnapshotItem", "made") && is_required("SnapshotItem", "held_ms"));
        assert!(is_required("Page_SnapshotItem", "next"));
        // One that leaves it out: never null.
        assert!(!is_required("Token", "secret"));
        assert_eq!(document.pointer("/components/schemas/Token/properties/secret/type"), Some(&json!("string")));
        // A body of a request: either.
        assert!(!is_required("ShareBody", "password") && is_required("ShareBody", "path"));
        // A page refers to what is on it.
        let items = document.pointer("/components/schemas/Page_Entry/properties/items/items");
        assert_eq!(items, Some(&json!({ "$ref": "#/components/schemas/Entry" })));
    }

    #[test]
    fn operations_have_ids_of_their_own() {
        let document = described();
        let operations = document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap());
        let ids: Vec<&str> = operations.map(|(_, operation)| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        assert!(ids.contains(&"get_snapshots_id_entries"));
    }

    /// Every type that is named is described.
    #[test]
    fn every_reference_leads_somewhere() {
        let document = described();
        let mut left = vec![&document];
        while let Some(value) = left.pop() {
            if let Some(reference) = value.get("$ref") {
                let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            left.extend(value.as_object().into_iter().flat_map(|object| object.values()));
            left.extend(value.as_array().into_iter().flatten());
        }
    }

    /// Whatever is served under `/api/v1` is described, by its methods, and nothing else is.
    #[test]
    fn every_route_is_described() {
        let document = described();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            let methods = methods.as_object().unwrap().keys().filter(|method| *method != "options");
            described.extend(methods.map(|method| (path.clone(), method.to_uppercase())));
        }
        let mut served = BTreeSet::new();
        for route in Route::ALL.into_iter().filter(|route| route.path().starts_with("/api/")) {
            let serves = |method: &Method| route.action(method, MetricsAccess::Off).is_some();
            for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let is_here = !matches!(route, Route::Connect | Route::OpenApi);
                // Where there is GET, there is HEAD.
                let is_own = method != Method::HEAD || !serves(&Method::GET);
                if is_here && is_own && serves(&method) {
                    served.insert((route.path().replace("{*", "{"), method.to_string()));
                }
            }
        }
        assert_eq!(described, served);
    }
}
