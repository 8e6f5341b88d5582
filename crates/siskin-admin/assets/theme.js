// Dark or light, before anything is drawn: as chosen here, else as the system says.
document.documentElement.dataset.theme =
  localStorage.getItem("siskin.theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
