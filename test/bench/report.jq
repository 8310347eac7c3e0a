# SPDX-License-Identifier: Apache-2.0
# What was measured against what was asked for. Input: the results of test/bench/run. $aims: the text of
# test/bench/aims. The answer, by $want: "table"; "check": one line for each row that misses its gate;
# "missed": the same for the aims; "flat": label, ratio in pairs and ratio of medians of each row of that section;
# "samples": the samples of the section "fork" in order, with the share of runs that took no longer.

def number: if . == "-" then null else tonumber end;

def aims:
  [$aims | split("\n")[] | select(test("^[a-z]")) |
    capture("^(?<section>\\S+)\\s+(?<row>\\S+)\\s+(?<floor>\\S+)\\s+(?<ratio>\\S+)\\s+(?<ratio_gate>\\S+)\\s+(?<extra>\\S+)\\s+(?<extra_gate>\\S+)\\s+(?<what>.*)$") |
    .ratio |= number | .ratio_gate |= number | .extra |= number | .extra_gate |= number];

def median: sort | length as $n | (.[($n - 1) / 2 | floor] + .[$n / 2 | floor]) / 2;
# By the nearest rank.
def p99: sort | .[(length * 0.99 | ceil) - 1];

def text($digits): if . == null then "" else
  pow(10; $digits) as $scale |
  (. * $scale | round) as $n | ($n | fabs) as $a |
  (if $n < 0 then "-" else "" end) + ($a / $scale | floor | tostring) +
  (if $digits == 0 then "" else "." + (($a % $scale) + $scale | tostring | .[1:]) end) end;

# What a row took: a list of numbers, in ms or KiB.
def values($section): $section[.].values;

def judge($section; $floor):
  . as $aim | ($aim.row | values($section)) as $v |
  (if $floor == null or $floor == "0" then null else $floor | values($section) end) as $f |
  (if $f != null and ($f | length) == ($v | length) then [$v, $f] | transpose else null end) as $pairs |
  $aim + {n: ($v | length), median: ($v | median), p99: ($v | p99), min: ($v | min)} +
  (if $floor == "0" then {by_pairs: null, by_medians: null, more: ($v | median)}
   elif $f == null then {}
   else {by_medians: (($v | median) / ($f | median)), by_minima: (($v | min) / ($f | min)),
         by_pairs: (if $pairs then $pairs | map(.[0] / .[1]) | median else null end),
         more: (if $pairs then $pairs | map(.[0] - .[1]) | median else ($v | median) - ($f | median) end)}
   end);

# Of "a|b" the one with the smaller median, of those that were measured.
def floor_of($section):
  if .floor == "-" then null elif .floor == "0" then "0"
  else [.floor | split("|")[] | select($section[.])] | min_by(values($section) | median) end;

def judged:
  . as $results | [aims[] | . as $aim | ($results.sections[$aim.section] // {}) as $section |
    select($section[$aim.row]) | judge($section; floor_of($section))];

# Which of its two ratios keep the limit.
def keeps($limit):
  [.by_pairs, .by_medians] | map(select(. != null) | . <= $limit);

# Noise may spoil one of the two: a gate is missed when both say so, an aim is met when both do.
def verdict:
  [(if .ratio then keeps(.ratio) else [] end)[], (if .extra then .more <= .extra else empty end)] |
  if length == 0 then "" elif all then "yes" elif any then "partly" else "no" end;

def aim_text($unit):
  [(if .ratio then "\(.ratio) times" else empty end),
   (if .extra then (if .floor == "0" then "" else "+" end) + "\(.extra) \($unit)" else empty end)] | join(", ");

def table_of($title; $unit; $digits):
  def cells: [.what, .n, (.median | text($digits)), (.p99 | text($digits)), (.min | text($digits)),
    (.by_medians | text(2)), (.by_pairs | text(2)), (.by_minima | text(2)),
    (if .floor == "0" then "" else .more | text($digits) end), aim_text($unit), verdict];
  if length == 0 then empty else
    "### \($title)\n",
    "| \($unit) | n | median | p99 | min | ratio | in pairs | of minima | extra | aim | met |",
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|---|",
    (.[] | "| " + (cells | map(tostring) | join(" | ")) + " |"), "" end;

def table:
  judged as $rows |
  def part($name; $title): [$rows[] | select(.section == $name)] | table_of($title; "ms"; 2);
  (.machine | to_entries[] | "- \(.key): \(.value)"), "",
  part("start"; "Starting a verb"), part("ls"; "Listing"), part("fork"; "A fork that runs"),
  part("standby"; "A fork in standby"), part("many"; "Many at once"), part("flat"; "Flatness"),
  ([$rows[] | select(.section == "memory")] | table_of("Memory"; "KiB"; 0));

def misses($ratio; $extra; $word):
  judged[] | . as $row |
  (select($row[$ratio] and (keeps($row[$ratio]) | length > 0 and (any | not))) |
    "\(.what): \([.by_pairs, .by_medians] | map(values) | min | text(2)) times its floor, \($word) is \(.[$ratio])"),
  (select($row[$extra] and .more > $row[$extra]) |
    "\(.what): \(.more | text(2)) \(if .section == "memory" then "KiB" else "ms" end)" +
    (if .floor == "0" then "" else " beyond its floor" end) + ", \($word) is \(.[$extra])");

if $want == "table" then table
elif $want == "flat" then
  judged[] | select(.section == "flat" and .by_pairs) |
    [(.what | sub("^fork to "; "")), .by_pairs, .by_medians] | @tsv
elif $want == "samples" then
  (.sections.fork // {}) | to_entries[] | select(.key | test("^(fork|floor)")) |
    "# \(.key)", (.value.values | sort | length as $n | to_entries[] | "\(.value) \((.key + 1) / $n)"), "", ""
elif $want == "check" then misses("ratio_gate"; "extra_gate"; "the gate")
else misses("ratio"; "extra"; "the aim") end
