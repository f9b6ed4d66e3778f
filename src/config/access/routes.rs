//! What `authorization` and `permissions` of a cluster block may say: they are about servers.

use super::authorization::Authorization;
use super::{Reader, permissions};
use crate::config::value::{Fault, Value};

/// # Errors
/// What does not go with routes.
pub fn check_routes_authorization(
    key: &str,
    value: &Value,
    reader: &mut Reader<'_>,
) -> Result<(), Fault> {
    let (found, defaults) = Authorization::read_apart(value, reader)?;
    if found.users.is_some() {
        return Err(value.fault("Cluster authorization does not allow multiple users"));
    }
    if found.token.is_some_and(|token| !token.is_empty()) {
        return Err(value.fault("Cluster authorization does not support tokens"));
    }
    if defaults.is_some() {
        reader.warnings.push(value.fault(format!(
            "invalid use of field {key:?}: setting \"permissions\" within cluster authorization \
             block is deprecated"
        )));
    }
    Ok(())
}

/// # Errors
/// What does not go with routes.
pub fn check_routes_permissions(value: &Value, reader: &mut Reader<'_>) -> Result<(), Fault> {
    let found = permissions::read(value, reader)?;
    if found.responses.is_some() {
        return Err(value.fault("Cluster permissions do not support dynamic responses"));
    }
    Ok(())
}
