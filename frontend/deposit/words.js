// Elements, sizes and durations as the deposit page says them.
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function bytesText(count) {
  let value = count;
  for (const unit of ["octets", "Ko", "Mo", "Go"]) {
    if (value < 1024 || unit === "Go") {
      return unit === "octets" ? `${value} octet${value > 1 ? "s" : ""}` : `${value.toFixed(1).replace(".", ",")} ${unit}`;
    }
    value /= 1024;
  }
  return "";
}

export function durationText(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")}`;
}
