//! stub
pub(crate) fn router() -> axum::Router<crate::state::ApiState> {
    axum::Router::new()
}
#[derive(Default)]
pub(crate) struct Sessions;
