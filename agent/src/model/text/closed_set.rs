//! Closed sets of words: an enum whose values have one name each, in JSON, in labels and in texts.

/// Defines an enum with the name of each value beside it: `ALL` lists the values in order, `as_str` gives the
/// name, and serde writes and reads that.
macro_rules! closed_set {
    (
        $(#[$of_set:meta])*
        $visible:vis enum $set:ident {
            $($(#[$of_value:meta])* $value:ident = $name:literal,)+
        }
    ) => {
        $(#[$of_set])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        $visible enum $set {
            $($(#[$of_value])* #[serde(rename = $name)] $value,)+
        }

        impl $set {
            /// Every value, in the order of lists and label values.
            $visible const ALL: [Self; [$($name),+].len()] = [$(Self::$value),+];

            /// The name in JSON, labels and texts.
            $visible const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)+
                }
            }
        }
    };
}

pub(crate) use closed_set;

#[cfg(test)]
mod tests {
    closed_set! {
        /// Two lights.
        enum Light {
            /// Stop.
            Red = "red",
            /// Go.
            GreenAtLast = "green_at_last",
        }
    }

    #[test]
    fn a_value_has_one_name_wherever_it_stands() {
        assert_eq!(Light::ALL, [Light::Red, Light::GreenAtLast]);
        for (value, name) in Light::ALL.into_iter().zip(["red", "green_at_last"]) {
            assert_eq!(value.as_str(), name);
            assert_eq!(serde_json::to_value(value).unwrap(), name);
            assert_eq!(serde_json::from_value::<Light>(name.into()).unwrap(), value);
        }
        assert!(serde_json::from_value::<Light>("GreenAtLast".into()).is_err());
    }
}
