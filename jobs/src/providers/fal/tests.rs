use super::{super::testing::*, *};

mod files;
mod follow;
mod submit;

const ID: &str = "123e4567-e89b-12d3-a456-426614174000";

fn config(url: &str) -> FalConfig {
    FalConfig {
        queue_url: url.to_owned(),
        platform_url: format!("{url}/v1"),
        files_hosts: vec![url.trim_start_matches("http://").to_owned(), "v3.fal.media".into()],
        key: Secret::new("id:planted"),
        admin_key: Some(Secret::new("admin:planted")),
        file_life: Duration::from_secs(7_200),
        file_access: FileAccess::Forbidden,
        timeout: Duration::from_secs(5),
        download_timeout: Duration::from_secs(5),
    }
}

fn fal(url: &str) -> Fal {
    Fal::new(&config(url)).unwrap()
}

async fn told(reply: Reply) -> (StandIn, Fal) {
    let server = StandIn::start([reply]).await;
    let fal = fal(&server.url);
    (server, fal)
}
