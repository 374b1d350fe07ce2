//! Everything by which the agent is reached, opened before it gives up its rights.

use super::{Error, given_sockets::GivenSockets, listen};
use crate::{config::web::WebAccess, serve::MetricsAccess};
use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
};

/// What the options say of it.
#[derive(Debug)]
pub(crate) struct EndpointConfig {
    /// Address of the metrics endpoint.
    pub listen: SocketAddr,
    /// TLS and passwords of that endpoint, if it has any.
    pub web_config_file: Option<PathBuf>,
    /// Names besides those of loopback under which loopback is asked for metrics.
    pub allowed_hosts: Vec<String>,
    /// Path of the API socket.
    pub socket: PathBuf,
    /// Group that may use it.
    pub socket_group: Option<String>,
}

/// Listeners, and who is served at them.
#[derive(Debug)]
pub(super) struct Endpoints {
    pub(super) metrics: TcpListener,
    pub(super) access: MetricsAccess,
    pub(super) api: listen::Api,
    config: EndpointConfig,
}

impl Endpoints {
    /// What was passed to us comes before what the options say.
    pub(super) fn open(config: EndpointConfig) -> Result<Self, Error> {
        let web = Arc::new(WebAccess::open(config.web_config_file.clone())?);
        let given = GivenSockets::take()?;
        let api = match given.api {
            Some(socket) => listen::Api::given(socket),
            None => listen::Api::bind(&config.socket, config.socket_group.as_deref())?,
        };
        let metrics = given.metrics.map_or_else(|| listen::metrics(config.listen), Ok)?;
        let allowed_hosts = config.allowed_hosts.clone().into();
        Ok(Self { metrics, access: MetricsAccess { web, allowed_hosts }, api, config })
    }

    /// Reads the web config by the rights with which it will be read from now on.
    pub(super) fn read_again(&self) -> Result<(), Error> {
        Ok(self.access.web.reload(self.config.web_config_file.clone())?)
    }

    /// Where metrics are.
    pub(super) fn url(&self) -> String {
        let scheme = if self.access.web.now().tls.is_some() { "https" } else { "http" };
        // Not the one that was asked for: port 0 is any.
        let address = self.metrics.local_addr().unwrap_or(self.config.listen);
        format!("{scheme}://{address}/metrics")
    }

    /// Where the API is.
    pub(super) fn socket(&self) -> PathBuf {
        self.api.path().unwrap_or_else(|| self.config.socket.clone())
    }
}
