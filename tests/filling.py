"""Sheets filled in by other tools, as agents' programs do: pypdf, qpdf (pikepdf), and PDFium, which is Chromium's."""

from __future__ import annotations

import ctypes
import io
import warnings
from collections.abc import Mapping

import pikepdf
import pypdfium2
import pypdfium2.raw as pdfium
from pypdf import PdfReader, PdfWriter


def by_pypdf(content: bytes, values: Mapping[str, str]) -> bytes:
    """Rewrites the file."""
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(content)))
    writer.update_page_form_field_values(None, dict(values), auto_regenerate=False)
    writer.write(filled := io.BytesIO())
    return filled.getvalue()


def by_pypdf_incrementally(content: bytes, values: Mapping[str, str]) -> bytes:
    """Appends what has changed, as Acrobat and Firefox do."""
    writer = PdfWriter(io.BytesIO(content), incremental=True)
    writer.update_page_form_field_values(None, dict(values), auto_regenerate=False)
    writer.write(filled := io.BytesIO())
    return filled.getvalue()


def by_qpdf(content: bytes, values: Mapping[str, str]) -> bytes:
    """Rewrites the file with object streams, its objects renumbered, without appearances, as pdftk and qpdf do."""
    with pikepdf.open(io.BytesIO(content)) as pdf:
        for field in pdf.Root.AcroForm.Fields:
            for kid in field.get("/Kids", ()):
                name = f"{field.T}.{kid.T}"
                if name in values:
                    kid.V = pikepdf.String(values[name])
                    del kid["/AP"]
        pdf.Root.AcroForm.NeedAppearances = True
        pdf.save(filled := io.BytesIO(), object_stream_mode=pikepdf.ObjectStreamMode.generate, compress_streams=True)
    return filled.getvalue()


def by_page_only(content: bytes, values: Mapping[str, str]) -> bytes:
    """Loses the form's list of fields and the document's properties, as tools do that take pages over to a new file."""
    filled = by_qpdf(content, values)
    with pikepdf.open(io.BytesIO(filled)) as pdf, warnings.catch_warnings():
        warnings.simplefilter("ignore", pikepdf.PageCopyWarning)  # this is what the tool is like
        del pdf.Root.AcroForm.Fields
        del pdf.docinfo["/Keywords"]
        pdf.save(taken_over := io.BytesIO())
    return taken_over.getvalue()


def without_hidden_field(content: bytes, values: Mapping[str, str]) -> bytes:
    """Loses the field that nobody sees; the document's properties stay."""
    filled = by_qpdf(content, values)
    with pikepdf.open(io.BytesIO(filled)) as pdf:
        pdf.Root.AcroForm.Fields = pikepdf.Array([f for f in pdf.Root.AcroForm.Fields if f.T != "leadline"])
        page = pdf.pages[0]
        page.Annots = pikepdf.Array([a for a in page.Annots if a.get("/T") != "leadline"])
        pdf.save(kept := io.BytesIO())
    return kept.getvalue()


def by_pdfium(content: bytes, values: Mapping[str, str]) -> bytes:
    """Types into the fields in Chromium's engine, and saves."""
    document = pypdfium2.PdfDocument(content)
    document.init_forms()
    waiting = dict(values)
    for page in document:
        _type_into(document.formenv, page, waiting)
        page.close()
    assert not waiting, f"not found: {waiting}"
    document.save(filled := io.BytesIO())
    document.close()
    return filled.getvalue()


def _type_into(form: pypdfium2.PdfFormEnv | None, page: pypdfium2.PdfPage, values: dict[str, str]) -> None:
    assert form is not None
    for index in range(pdfium.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        value = values.pop(_field_name(form, annotation), None)
        if value is not None:
            assert pdfium.FORM_SetFocusedAnnot(form, annotation)
            if pdfium.FPDFAnnot_GetFormFieldType(form, annotation) == pdfium.FPDF_FORMFIELD_COMBOBOX:
                for option in range(pdfium.FPDFAnnot_GetOptionCount(form, annotation)):
                    if _option(form, annotation, option) == value:
                        assert pdfium.FORM_SetIndexSelected(form, page, option, 1)
            else:
                pdfium.FORM_ReplaceSelection(form, page, _wide(value))
            pdfium.FORM_ForceToKillFocus(form)
        pdfium.FPDFPage_CloseAnnot(annotation)


def _field_name(form: pypdfium2.PdfFormEnv, annotation: object) -> str:
    buffer = (pdfium.FPDF_WCHAR * 256)()
    pdfium.FPDFAnnot_GetFormFieldName(form, annotation, buffer, ctypes.sizeof(buffer))
    return bytes(buffer).decode("utf-16-le").split("\x00")[0]


def _option(form: pypdfium2.PdfFormEnv, annotation: object, index: int) -> str:
    buffer = (pdfium.FPDF_WCHAR * 256)()
    pdfium.FPDFAnnot_GetOptionLabel(form, annotation, index, buffer, ctypes.sizeof(buffer))
    return bytes(buffer).decode("utf-16-le").split("\x00")[0]


def _wide(text: str) -> object:
    encoded = text.encode("utf-16-le") + b"\x00\x00"
    return ctypes.cast(ctypes.create_string_buffer(encoded), ctypes.POINTER(pdfium.FPDF_WCHAR))
