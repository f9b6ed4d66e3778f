// Before anything is painted: the theme chosen earlier, if one was.
try {
  const theme = localStorage.getItem("ringbus-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be switched off; the system's theme it is.
}
