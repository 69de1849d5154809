// The page can be read without this. It sorts the list of frames and opens what is folded for print.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => {
        const figure = row.cells[column].querySelector("data");
        return figure ? Number(figure.value) : row.cells[column].textContent;
      };
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [one, two] = [key(a), key(b)];
        const order =
          typeof one === "number" && typeof two === "number"
            ? one - two
            : String(one).localeCompare(String(two), "en", { numeric: true });
        return up ? order : -order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not(.long)")) part.open = true;
});
