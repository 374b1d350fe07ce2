//! Users by the names that passwd(5) gives them.

use super::{Error, text};
use std::{path::Path, str::Split};

/// The list of users: only root writes it.
const FILE: &str = "/etc/passwd";
/// With a hundred bytes a line, 40,000 users.
const MOST_BYTES: usize = 4 << 20;

/// Why a word is no user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoUser {
    /// Nobody has that name.
    #[error("no user in {FILE} has the name {0}: give its number, as `id -u {0}` prints it")]
    Unknown(String),
    /// The list is not to be had.
    #[error(
        "{name} is no number, and the users in {FILE} cannot be read: {cause}; give the number, as `id -u {name}` prints it"
    )]
    Unread {
        /// The name that was asked for.
        name: String,
        /// The error of the file layer.
        cause: Error,
    },
}

/// The number of a user, which is given as a number or by its name.
pub(crate) fn user(word: &str) -> Result<u32, NoUser> {
    user_by(Path::new(FILE), word)
}

fn user_by(list: &Path, word: &str) -> Result<u32, NoUser> {
    if let Ok(number) = word.parse() {
        return Ok(number);
    }
    let users =
        text(list, MOST_BYTES).map_err(|cause| NoUser::Unread { name: word.to_owned(), cause })?;
    let found = users.lines().find_map(|line| user_of_line(line, word));
    found.ok_or_else(|| NoUser::Unknown(word.to_owned()))
}

/// `www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin`: the name, the number of the user, and the fields behind that: group,
/// comment, home, shell. The second field is a password that is elsewhere.
pub(crate) fn fields_of(line: &str) -> Option<(&str, &str, Split<'_, char>)> {
    let mut fields = line.split(':');
    Some((fields.next()?, fields.nth(1)?, fields))
}

fn user_of_line(line: &str, name: &str) -> Option<u32> {
    let (its_name, number, _) = fields_of(line)?;
    (its_name == name).then(|| number.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name_and_by_nothing_else() {
        let line = "www-data:x:33:34:33 web:/var/www:/usr/sbin/nologin";
        assert_eq!(user_of_line(line, "www-data"), Some(33));
        for (line, name) in
            [(line, "www"), (line, "33 web"), (line, ""), ("broken", "broken"), ("a:x:b", "a")]
        {
            assert_eq!(user_of_line(line, name), None, "{line}: {name}");
        }
    }

    #[test]
    fn a_number_needs_no_list_and_what_is_wrong_says_the_way_out() {
        let nowhere = Path::new("/nowhere/passwd");
        assert_eq!(user_by(nowhere, "1000").ok(), Some(1000));
        let said = |word| user_by(nowhere, word).unwrap_err().to_string();
        assert!(said("postgres").contains("cannot be read") && said("-1").contains("id -u"));
        assert!(
            user("no such user").unwrap_err().to_string().contains("has the name no such user")
        );
    }
}
