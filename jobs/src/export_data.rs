//! Write everything that there is about one person into one JSON document, for that person.
//!
//! Life: enqueued by the intake with the export's row -> rows by the data map, sealed values opened -> objects, one at a time,
//! in base64 -> streamed to the store under the person's own folder -> done. The person's backend fetches it by a short link.
//! Input: an export's row.  Output: `application/json` as docs/schemas/personal-data-export.schema.json has it.
//! Gives up: `subject_erased`. An erasure takes the job, what was written, and the row, as it takes everything (N29).
//! The gate is the person's own: neither consent nor restriction keeps from anybody what is theirs.
//! Source: GDPR Art. 15 and 20; policy rows K38 and K42.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;
use tokio::sync::Mutex;

use crate::{
    data_map::{DataMap, Export, Table},
    id::{Artifact, Id, Subject},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    keys,
    register::Register,
    run::Run,
    stop::{Done, Stop},
    vault::SubjectKey,
};

/// One export.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExportData {
    /// Its row.
    pub export: Id<Artifact>,
}

/// Whose export, and where it goes.
pub struct Row {
    subject: Id<Subject>,
    tenant: String,
    key: String,
    stored: bool,
    made_at: chrono::DateTime<chrono::Utc>,
    expires_at: Option<chrono::DateTime<chrono::Utc>>,
}

impl Job for ExportData {
    const NAME: &'static str = "export_data";
    const QUEUE: Queue = Queue::Notices;
    const RETRY: Retry = Retry { attempts: 10, first: Duration::from_secs(10), most: Duration::from_secs(3600) };
    const EFFECT: Effect = Effect::Repeatable;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    type Pass = Row;

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.export])
    }

    fn scope(&self) -> Scope {
        Scope::Artifact(self.export)
    }

    async fn gate(&self, run: &Run) -> Result<Row, Stop> {
        let row = sqlx::query!(
            r#"select a.subject_id, a.tenant, a.storage_key, a.state, a.delete_after, safelight.now() as "now!"
            from safelight.artifacts a join safelight.subjects s on s.id = a.subject_id
            where a.id = $1 and a.class = 'export' and a.deletion_id is null and s.state in ('active', 'restricted') and s.generation = a.generation"#,
            self.export.uuid()
        )
        .fetch_optional(&mut *run.reads().await?)
        .await?
        .ok_or_else(|| Stop::give_up("subject_erased", format!("{} is nobody's export any more", self.export)))?;
        Ok(Row {
            subject: row.subject_id.into(),
            tenant: row.tenant,
            key: row.storage_key,
            stored: row.state == "stored",
            made_at: row.now,
            expires_at: row.delete_after,
        })
    }

    async fn run(&self, row: Row, run: &Run) -> Result<Done, Stop> {
        if row.stored {
            return Ok(Done::nothing_more());
        }
        let map = DataMap::bundled().map_err(|error| Stop::retry("data_map", error))?;
        let head = head(run, &row, &map).await?;
        let files = files(run, &row, &map).await?;
        let count = files.len();
        let hash = Arc::new(Mutex::new((Sha256::new(), 0_u64)));
        let parts = parts(run.clone(), head, files).then(|part| {
            let hash = hash.clone();
            async move {
                if let Ok(part) = &part {
                    let mut hash = hash.lock().await;
                    hash.0.update(part);
                    hash.1 += part.len() as u64;
                }
                part
            }
        });
        let key = keys::stored(&row.key)?;
        run.services.storage.put_stream(&key, parts.boxed(), "application/json").await?;
        let (sha256, bytes) = {
            let hash = hash.lock().await;
            (hex::encode(hash.0.clone().finalize()), i64::try_from(hash.1).unwrap_or(i64::MAX))
        };
        let mut tx = run.begin().await?;
        sqlx::query!("select safelight.export_arrived($1, $2, $3)", self.export.uuid(), bytes, sha256)
            .fetch_one(&mut *tx)
            .await?;
        run.note("export.made", "stored").count("files", count).count("bytes", bytes).write(&mut tx).await?;
        run.finish(tx).await
    }
}

/// Everything but the files.
async fn head(run: &Run, row: &Row, map: &DataMap) -> Result<Map<String, Value>, Stop> {
    let policy = run.services.policies.of(&row.tenant)?;
    let register = Register::draw(policy, map);
    let key = run.services.vault.key(&mut *run.reads().await?, row.subject).await?;
    let (mut given, mut about) = (Map::new(), Map::new());
    for table in map.tables() {
        let part = match table.export {
            Some(Export::Given) => &mut given,
            Some(Export::About) => &mut about,
            Some(Export::Not(_)) | None => continue,
        };
        let rows = rows(run, row.subject, table, &key).await?;
        if !rows.is_empty() {
            part.insert(table.name.clone(), rows.into());
        }
    }
    let document = json!({
        "form": "safelight-personal-data-export/1",
        "controller": register.controller,
        "contact": register.contact,
        "policy_version": register.policy_version,
        "subject": row.subject,
        "made_at": row.made_at,
        "expires_at": row.expires_at,
        "rights": "You may have wrong data corrected, have all of it erased or its processing restricted, object, withdraw each consent, and complain to a data protection authority.",
        "processing": register.activities,
        "recipients": register.recipients,
        "kept": register.data.iter().map(|data| (data.class.to_owned(), data.kept.clone().into())).collect::<Map<_, Value>>(),
        "given": given,
        "about": about,
    });
    match document {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

/// Rows of one table as the person may read them: sealed values opened, keys and pointers of ours as they are.
async fn rows(run: &Run, subject: Id<Subject>, table: &Table, key: &SubjectKey) -> Result<Vec<Value>, Stop> {
    let Some(condition) = &table.rows else { return Ok(Vec::new()) };
    // Made of the bundled map alone.
    let sql = format!("select to_jsonb(t) from {} t where {condition}", table.name);
    let found: Vec<Value> =
        sqlx::query_scalar(AssertSqlSafe(sql)).bind(subject.uuid()).fetch_all(&mut *run.reads().await?).await?;
    found.into_iter().map(|row| opened(without_staff(row, table), key)).collect()
}

/// Who of the house did something is somebody else's: it is no part of what a person gets.
fn without_staff(mut row: Value, table: &Table) -> Value {
    if let (Some(fields), Some(staff)) = (row.as_object_mut(), table.plain.get("staff")) {
        fields.retain(|column, _| !staff.contains(column));
    }
    row
}

fn opened(row: Value, key: &SubjectKey) -> Result<Value, Stop> {
    let Value::Object(fields) = row else { return Ok(row) };
    let mut open = Map::new();
    for (column, value) in fields {
        let Some(field) = SEALED.iter().find(|field| column == format!("{field}_sealed")) else {
            open.insert(column, value);
            continue;
        };
        let Some(sealed) = value.as_str().and_then(|text| text.strip_prefix("\\x")) else { continue };
        let sealed = hex::decode(sealed).map_err(|error| Stop::retry("export_unreadable", error))?;
        let bytes = key.open(field, &sealed)?;
        let plain = match *field {
            "vector" => {
                let (numbers, _) = bytes.as_chunks::<4>();
                numbers.iter().map(|number| Value::from(f32::from_le_bytes(*number))).collect()
            }
            _ => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
        };
        open.insert((*field).to_owned(), plain);
    }
    Ok(Value::Object(open))
}

/// What is sealed, by the name under which it was sealed.
const SEALED: [&str; 5] = ["email", "name", "google_id", "prompt", "vector"];

struct File {
    key: String,
    about: Map<String, Value>,
}

async fn files(run: &Run, row: &Row, map: &DataMap) -> Result<Vec<File>, Stop> {
    let classes: Vec<String> = map
        .folders()
        .iter()
        .filter(|folder| !matches!(folder.export, Export::Not(_)))
        .map(|folder| folder.class_word.clone())
        .collect();
    let rows = sqlx::query!(
        r#"select a.id, a.class, a.storage_key, a.content_type, a.bytes, a.sha256, a.delete_after from safelight.artifacts a
        where a.subject_id = $1 and a.class = any ($2) and safelight.readable(a) order by a.class, a.position, a.id"#,
        row.subject.uuid(),
        &classes
    )
    .fetch_all(&mut *run.reads().await?)
    .await?;
    Ok(rows
        .into_iter()
        .map(|file| {
            let mut about = Map::new();
            about.insert("id".to_owned(), Id::<Artifact>::from(file.id).to_string().into());
            about.insert("class".to_owned(), file.class.into());
            about.insert("content_type".to_owned(), file.content_type.into());
            about.insert("bytes".to_owned(), file.bytes.into());
            about.insert("sha256".to_owned(), file.sha256.into());
            about.insert("delete_after".to_owned(), json!(file.delete_after));
            File { key: file.storage_key, about }
        })
        .collect())
}

/// The document, a part at a time: no more than one file is in memory.
fn parts(
    run: Run,
    head: Map<String, Value>,
    files: Vec<File>,
) -> impl futures::Stream<Item = Result<Bytes, Stop>> + Send {
    let mut text = Value::Object(head).to_string();
    text.pop();
    let open = stream::once(async move { Ok(Bytes::from(format!("{text},\"files\":["))) });
    let middle = stream::iter(files.into_iter().enumerate()).then(move |(place, file)| {
        let run = run.clone();
        async move {
            let bytes = run.services.storage.get(&keys::stored(&file.key)?, keys::MOST_BYTES).await?;
            let mut about = Value::Object(file.about).to_string();
            about.pop();
            let comma = if place == 0 { "" } else { "," };
            Ok(Bytes::from(format!("{comma}{about},\"base64\":\"{}\"}}", STANDARD.encode(&bytes))))
        }
    });
    open.chain(middle).chain(stream::once(async { Ok(Bytes::from_static(b"]}")) }))
}
