//! `strftime_now`: Python's `datetime.now().strftime`, in the zone of the machine (`TZ`, `/etc/localtime`, Windows' own).

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;

/// What the clock on the wall shows, with the seconds since 1970.
pub(super) struct Moment {
    local: DateTime,
    seconds: i64,
}

impl Moment {
    /// Now, here.
    pub(super) fn now() -> Self {
        Self::new(Timestamp::now(), TimeZone::system())
    }

    /// A time in UTC.
    pub(super) fn utc(time: SystemTime) -> Self {
        Self::new(Timestamp::try_from(time).unwrap_or_default(), TimeZone::UTC)
    }

    fn new(time: Timestamp, zone: TimeZone) -> Self {
        Self { local: zone.to_datetime(time), seconds: time.as_second() }
    }

    fn day_of_year(&self) -> i64 {
        i64::from(self.local.day_of_year())
    }

    /// The week of the year when weeks begin with `first`; days before the first one are in week 0.
    fn week(&self, first: Weekday) -> i64 {
        let into = i64::from(self.local.weekday().since(first));
        (self.day_of_year() - 1 + 7 - into) / 7
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A number with its width and what fills it, or a text.
enum TimeField {
    Number(i64, usize, char),
    Text(String),
}

fn short(name: &str) -> TimeField {
    TimeField::Text(name.get(..3).unwrap_or(name).to_owned())
}

/// Python's `strftime` in the C locale, with glibc's flags (`%-d`, `%_H`, `%^a`). Unknown directives stay as they are.
pub(super) fn strftime(format: &str, moment: &Moment) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let flags = after.len() - after.trim_start_matches(['-', '_', '0', '^', '#']).len();
        let (flags, tail) = after.split_at(flags);
        let tail = tail.trim_start_matches(['E', 'O']);
        let Some(letter) = tail.chars().next() else {
            out.push('%');
            rest = after;
            break;
        };
        match part(letter, moment) {
            Some(part) => {
                out.push_str(&shown(part, flags));
                rest = tail.get(letter.len_utf8()..).unwrap_or_default();
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out + rest
}

fn shown(part: TimeField, flags: &str) -> String {
    let (number, width, fill) = match part {
        TimeField::Text(text) if flags.contains('^') => return text.to_uppercase(),
        TimeField::Text(text) if flags.contains('#') && text.chars().all(|c| !c.is_lowercase()) => {
            return text.to_lowercase();
        }
        TimeField::Text(text) if flags.contains('#') => return text.to_uppercase(),
        TimeField::Text(text) => return text,
        TimeField::Number(number, width, fill) => (number, width, fill),
    };
    match flags.chars().rfind(|flag| "-_0".contains(*flag)) {
        Some('-') => number.to_string(),
        Some('_') => format!("{number:width$}"),
        None if fill == ' ' => format!("{number:width$}"),
        _ => format!("{number:0width$}"),
    }
}

fn part(letter: char, moment: &Moment) -> Option<TimeField> {
    let local = moment.local;
    let two = |n: i64| TimeField::Number(n, 2, '0');
    let month = MONTHS.get(usize::from(local.month().unsigned_abs()).checked_sub(1)?)?;
    let from_monday = local.weekday().to_monday_zero_offset();
    let day = DAYS.get(usize::from(from_monday.unsigned_abs()))?;
    let hour = i64::from(local.hour());
    let (year, iso) = (i64::from(local.year()), local.iso_week_date());
    let again = |format: &str| TimeField::Text(strftime(format, moment));
    Some(match letter {
        'Y' => TimeField::Number(year, 1, '0'),
        'C' => two(year.div_euclid(100)),
        'y' => two(year.rem_euclid(100)),
        'm' => two(i64::from(local.month())),
        'd' => two(i64::from(local.day())),
        'e' => TimeField::Number(i64::from(local.day()), 2, ' '),
        'j' => TimeField::Number(moment.day_of_year(), 3, '0'),
        'B' => TimeField::Text((*month).to_owned()),
        'b' | 'h' => short(month),
        'A' => TimeField::Text((*day).to_owned()),
        'a' => short(day),
        'H' => two(hour),
        'k' => TimeField::Number(hour, 2, ' '),
        'I' => two((hour + 11) % 12 + 1),
        'l' => TimeField::Number((hour + 11) % 12 + 1, 2, ' '),
        'M' => two(i64::from(local.minute())),
        'S' => two(i64::from(local.second())),
        'f' => TimeField::Number(i64::from(local.subsec_nanosecond()) / 1000, 6, '0'),
        'p' => TimeField::Text(if hour < 12 { "AM" } else { "PM" }.to_owned()),
        'P' => TimeField::Text(if hour < 12 { "am" } else { "pm" }.to_owned()),
        's' => TimeField::Number(moment.seconds, 1, '0'),
        'u' => TimeField::Number(i64::from(from_monday) + 1, 1, '0'),
        'w' => TimeField::Number((i64::from(from_monday) + 1) % 7, 1, '0'),
        'U' => two(moment.week(Weekday::Sunday)),
        'W' => two(moment.week(Weekday::Monday)),
        'V' => two(i64::from(iso.week())),
        'G' => TimeField::Number(i64::from(iso.year()), 1, '0'),
        'g' => two(i64::from(iso.year()).rem_euclid(100)),
        'c' => again("%a %b %e %H:%M:%S %Y"),
        'D' | 'x' => again("%m/%d/%y"),
        'T' | 'X' => again("%H:%M:%S"),
        'F' => again("%Y-%m-%d"),
        'R' => again("%H:%M"),
        'r' => again("%I:%M:%S %p"),
        'n' => TimeField::Text("\n".to_owned()),
        't' => TimeField::Text("\t".to_owned()),
        '%' => TimeField::Text("%".to_owned()),
        // What Python's clock tells knows no zone.
        'Z' | 'z' => TimeField::Text(String::new()),
        _ => return None,
    })
}

/// A time in UTC as RFC 3339 writes it, to the second: `2026-11-25T03:04:11Z`.
pub fn utc(time: SystemTime) -> String {
    strftime("%Y-%m-%dT%H:%M:%SZ", &Moment::utc(time))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn at(seconds: u64, format: &str) -> String {
        strftime(format, &Moment::utc(UNIX_EPOCH + Duration::from_secs(seconds)))
    }

    #[test]
    fn dates() {
        let usual = "%Y-%m-%d %d %b %B %a %A %H:%M:%S %I%p %y %% %q";
        assert_eq!(at(0, usual), "1970-01-01 01 Jan January Thu Thursday 00:00:00 12AM 70 % %q");
        assert_eq!(at(951_827_696, usual), "2000-02-29 29 Feb February Tue Tuesday 12:34:56 12PM 00 % %q");
        assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(951_827_696)), "2000-02-29T12:34:56Z");
        assert_eq!(at(1_735_689_599, usual), "2024-12-31 31 Dec December Tue Tuesday 23:59:59 11PM 24 % %q");
    }

    /// As glibc writes them (Python 3.11 on Linux).
    #[test]
    fn rarer_directives() {
        assert_eq!(
            at(951_827_696, "%c|%x|%X|%D|%F|%R|%T|%r"),
            "Tue Feb 29 12:34:56 2000|02/29/00|12:34:56|02/29/00|2000-02-29|12:34|12:34:56|12:34:56 PM"
        );
        assert_eq!(
            at(951_827_696, "%j %U %W %V %G %g %u %w %C %h %e %k %l %P"),
            "060 09 09 09 2000 00 2 2 20 Feb 29 12 12 pm"
        );
        assert_eq!(
            at(1_704_067_200 + 86_400 * 6, "%-d %-m %_d %^a %#B %-I %e|%n|%t|%f|%Z%z|%"),
            "7 1  7 SUN JANUARY 12  7|\n|\t|000000||%"
        );
        assert_eq!(at(1_704_067_200, "%U %W %V %G %u %w"), "00 01 01 2024 1 1");
    }

    #[test]
    fn zones() {
        let time = Timestamp::from_second(1_735_689_599).unwrap();
        let in_zone = |zone: &str| {
            let moment = Moment::new(time, TimeZone::posix(zone).unwrap());
            strftime("%d %b %Y %H:%M %s", &moment)
        };
        assert_eq!(in_zone("SST11"), "31 Dec 2024 12:59 1735689599");
        assert_eq!(in_zone("<+14>-14"), "01 Jan 2025 13:59 1735689599");
    }
}
