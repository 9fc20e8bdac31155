"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const sort = (index) => {
    const head = heads[index];
    const before = head.getAttribute("aria-sort");
    const opposite = before === "ascending" ? "descending" : "ascending";
    const direction = before ? opposite : head.dataset.first;
    const sign = direction === "ascending" ? 1 : -1;
    const numeric = "numeric" in head.dataset;
    const rows = [...body.rows].map((row, place) => ({ row, place, value: row.cells[index].dataset.value }));
    rows.sort((a, b) => {
      if (a.value === "" || b.value === "") {
        return (a.value === "") - (b.value === "") || a.place - b.place;
      }
      const order = numeric ? a.value - b.value : a.value.localeCompare(b.value, "en", { numeric: true });
      return sign * order || a.place - b.place;
    });
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", direction);
    body.append(...rows.map(({ row }) => row));
  };
  heads.forEach((head, index) => head.querySelector("button").addEventListener("click", () => sort(index)));
}
