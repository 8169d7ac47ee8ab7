// What the theme leaves out: the level of the menu's titles, and the keyboard in what scrolls.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("p.caption[role=heading]").forEach((title) => title.setAttribute("aria-level", "2"));
  const boxes = "pre, div.cell_input, div.cell_output, div.output, div.table-wrapper";
  document.querySelectorAll(boxes).forEach((box) => {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
  });
});
